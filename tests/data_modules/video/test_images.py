from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from data_modules.transforms.crops import Box
from data_modules.video.color import to_rgb
from data_modules.video.decode import open_video, probe
from data_modules.video.images import ImageTrack


def write(folder: Path, names: list[str], size: tuple[int, int] = (32, 48)) -> None:
    """Image i is flat grey at 10 i + 20."""
    folder.mkdir()
    for i, name in enumerate(names):
        grey = np.full((*size, 3), 10 * i + 20, np.uint8)
        pixel_format = "rgb24" if name.endswith(".png") else "yuvj420p"
        av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(
            format=pixel_format
        ).save(str(folder / name.lower()))
        (folder / name.lower()).rename(folder / name)


@pytest.mark.parametrize(
    "names",
    [
        [f"{i:05d}.jpg" for i in range(1, 13)],
        [f"{i:06d}.jpg" for i in range(12)],
        [f"img_{i:05d}.jpg" for i in range(1, 13)],
        [f"frame{i}.png" for i in range(1, 13)],  # frame2 before frame10
        [f"{i}.JPG" for i in range(95, 107)],
    ],
)
def test_images_are_frames_in_their_natural_order(tmp_path: Path, names: list[str]):
    write(tmp_path / "clip", names)
    (tmp_path / "clip" / "notes.txt").write_text("not a frame")
    info = probe(tmp_path / "clip")
    assert info == (12, 12.0, 1.0, 32, 48, "images", 12, "")
    with open_video(tmp_path / "clip") as video:
        frames = video.frames([0, 11, 3, 3])
        levels = to_rgb(video.planes([0, 11, 3, 3])).float().mean((1, 2, 3))
        video.check()
    assert frames.pixels.float().mean((1, 2, 3)).tolist() == pytest.approx(
        [20, 130, 50, 50], abs=2
    )
    assert levels.tolist() == pytest.approx([20, 130, 50, 50], abs=2)
    assert frames.seconds.tolist() == [0, 11 / 12, 3 / 12, 3 / 12]


def test_only_wanted_images_are_read(tmp_path: Path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i}.jpg").touch()
    read = list[str]()
    track = ImageTrack(folder, lambda path: read.append(path.name), fps=12)
    assert [rank for rank, _ in track.pictures(frozenset([7, 3, 99]))] == [3, 7]
    assert read == ["3.jpg", "7.jpg"]


def test_rate_and_times(tmp_path: Path):
    write(tmp_path / "clip", ["1.jpg", "2.jpg", "3.jpg"])
    with open_video(tmp_path / "clip", image_fps=4) as video:
        assert (video.fps, video.num_frames) == (4, 3)
        assert video.ranks([0.0, 0.3, 9.0]).tolist() == [0, 1, 2]
        assert video.frames([1], Box(3, 5, 7, 9)).pixels.shape == (1, 3, 7, 9)
    with (
        pytest.raises(
            ValueError, match="fps: a folder of images needs a rate above 0"
        ),
        open_video(tmp_path / "clip", image_fps=0),
    ):
        pass


def test_a_folder_without_images(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no frame that decodes"):
        probe(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", bytes(3000)])
def test_a_damaged_image(tmp_path: Path, content: bytes):
    write(tmp_path / "clip", ["1.jpg", "2.jpg", "3.jpg"])
    (tmp_path / "clip" / "2.jpg").write_bytes(content)
    with open_video(tmp_path / "clip") as video:
        assert video.frames([0, 2]).pixels.shape[0] == 2
        with pytest.raises(ValueError, match=r"2\.jpg: cannot be read as an image"):
            video.frames([1])
        with pytest.raises(ValueError, match=r"2\.jpg: cannot be read as an image"):
            video.check()


def test_a_cut_image(tmp_path: Path):
    write(tmp_path / "clip", ["1.jpg"], size=(128, 128))
    path = tmp_path / "clip" / "1.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with (
        pytest.raises(ValueError, match=r"1\.jpg: cannot be read as an image"),
        open_video(tmp_path / "clip") as video,
    ):
        video.frames([0])


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path, **options)


def gray(level: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def test_images_of_several_sizes_are_told(tmp_path: Path):
    save(tmp_path / "clip" / "1.jpg", gray(20))
    save(tmp_path / "clip" / "2.jpg", gray(99, (64, 64)))
    told = r"2\.jpg: shows 64 x 64 pixels, and the first image 32 x 48: the images of one video have one size"
    with open_video(tmp_path / "clip") as video:
        assert video.frames([0]).pixels.shape == (1, 3, 32, 48)
        for read in (
            lambda: video.frames([0, 1]),
            lambda: video.planes([1]),
            video.check,
        ):
            with pytest.raises(ValueError, match=told):
                read()


SERIES = [f"img_{n:05d}.jpg" for n in range(1, 5)]


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (
            [f"flow_{axis}_{n:05d}.jpg" for axis in "xy" for n in range(3)],
            r"4 img_#\.jpg, 3 flow_x_#\.jpg, 3 flow_y_#",
        ),
        (
            [f"{axis}_{n:04d}.jpg" for axis in "uv" for n in range(1, 4)],
            r"4 img_#\.jpg, 3 u_#\.jpg, 3 v_#\.jpg",
        ),
        (["thumb.jpg"], r"several series of images: 4 img_#\.jpg, 1 thumb\.jpg"),
        (["img_00001_preview.jpg"], r"4 img_#\.jpg, 1 img_#_preview\.jpg"),
        ([f"img_{n:05d}.png" for n in range(1, 5)], r"4 img_#\.jpg, 4 img_#\.png"),
        (["img_00005.png"], r"4 img_#\.jpg, 1 img_#\.png"),
        (["img_1.jpg"], r"img_00001\.jpg and img_1\.jpg have the same number"),
        (
            ["img_00002.JPEG"],
            r"img_00002\.JPEG and img_00002\.jpg have the same number",
        ),
        (
            ["img_00001.tif", "x.gif"],
            r"holds 1 \.gif, 1 \.tif, which are not read; frames are",
        ),
        (
            ["img_00006.jpg"],
            r"images are missing: img_00001\.jpg to img_00006\.jpg are 5 images without number 5;",
        ),
    ],
)
def test_images_beside_a_series_are_told(
    tmp_path: Path, others: list[str], told: str
):
    (tmp_path / "clip").mkdir()
    for name in [*SERIES, *others]:
        save(
            tmp_path
            / "clip"
            / name.replace(".tif", ".png").replace(".gif", ".png"),
            gray(50),
        )
        (
            tmp_path / "clip" / name.replace(".tif", ".png").replace(".gif", ".png")
        ).rename(tmp_path / "clip" / name)
    with pytest.raises(ValueError, match=told):
        probe(tmp_path / "clip")


@pytest.mark.parametrize(
    "names",
    [
        [
            *SERIES,
            "._img_00001.jpg",
            ".DS_Store",
            ".img_00009.jpg",
            "Thumbs.db",
            "list.txt",
        ],
        [f"cam0_{n}.jpg" for n in range(8, 12)],
        [f"{5 * n:03d}.webp" for n in range(4)],  # every fifth frame
        [
            f"frame_{n}_{33 * n + n % 2}ms.bmp" for n in range(8, 12)
        ],  # a number and a time
        ["1690000000.jpg", "1690000033.jpg", "1690000067.jpg", "1690000100.jpg"],
    ],
)
def test_what_is_one_series(tmp_path: Path, names: list[str]):
    images = [
        name for name in names if name[0] != "." and name[-3:] not in ("txt", ".db")
    ]
    for name in set(names) - set(images):
        (tmp_path / name).write_bytes(b"no image")
    for level, name in enumerate(images):
        save(tmp_path / name, gray(40 * level + 20))
    with open_video(tmp_path) as video:
        video.check()
        assert video.num_frames == 4
        levels = video.frames(range(4)).pixels.float().mean((1, 2, 3))
    assert levels.tolist() == pytest.approx([20, 60, 100, 140], abs=2)


def test_two_cameras_are_told(tmp_path: Path):
    for name in [f"cam{camera}_{n:04d}.jpg" for camera in (0, 1) for n in range(3)]:
        save(tmp_path / name, gray(50))
    with pytest.raises(
        ValueError, match=r"cam0_0000\.jpg to cam1_0002\.jpg are several series"
    ):
        probe(tmp_path)


def test_folders_of_frames_are_no_frames(tmp_path: Path):
    save(tmp_path / "clip" / "1.jpg", gray(50))
    with pytest.raises(
        ValueError, match="the folders in it, such as clip, are other videos"
    ):
        probe(tmp_path)


def smooth() -> Image.Image:
    """Other colors in each part, and no edge on which scalers of chroma could differ."""
    coarse = np.random.default_rng(0).integers(30, 220, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)


def shown(folder: Path) -> list[torch.Tensor]:
    """The first frame, on both ways to RGB."""
    with open_video(folder) as video:
        pixels = [video.frames([0]).pixels[0], to_rgb(video.planes([0]))[0]]
    return [image.permute(1, 2, 0).float() for image in pixels]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_shown_as_their_exif_says(
    tmp_path: Path, orientation: int, suffix: str
):
    image = smooth()
    exif = image.getexif()
    exif[0x0112] = orientation
    for number in range(2):
        save(tmp_path / f"{number}.{suffix}", image, exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / f"0.{suffix}")).convert(
        "RGB"
    )
    expected = torch.tensor(np.asarray(upright)).float()
    for pixels in shown(tmp_path):
        assert pixels.shape == expected.shape
        assert (pixels - expected).abs().mean() < 3


def test_each_image_is_turned_by_itself(tmp_path: Path):
    upright = smooth()
    stored = {
        1: upright,
        3: upright.rotate(180),
        6: upright.rotate(90, expand=True),
    }
    for number, (orientation, image) in enumerate(stored.items()):
        exif = image.getexif()
        exif[0x0112] = orientation
        save(
            tmp_path / f"{number}.jpg", image, exif=exif, quality=95, subsampling=0
        )
    expected = torch.tensor(np.asarray(upright)).permute(2, 0, 1).float()
    with open_video(tmp_path) as video:
        for pixels in (
            video.frames([0, 1, 2]).pixels,
            to_rgb(video.planes([0, 1, 2])),
        ):
            assert (pixels.float() - expected).abs().mean((1, 2, 3)).max() < 3


MODES = {
    "png": ("1", "L", "LA", "P", "RGBA"),
    "jpg": ("L", "CMYK", "RGB"),
    "bmp": ("RGB", "P"),
    "webp": ("RGBA", "L"),
}


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(suffix, mode) for suffix, modes in MODES.items() for mode in modes],
)
def test_kinds_of_images(tmp_path: Path, suffix: str, mode: str):
    image = (
        smooth().quantize(dither=Image.Dither.NONE)
        if mode == "P"
        else smooth().convert(mode)
    )
    save(tmp_path / f"1.{suffix}", image)
    expected = torch.tensor(
        np.asarray(Image.open(tmp_path / f"1.{suffix}").convert("RGB"))
    ).float()
    for pixels in shown(tmp_path):
        assert (
            pixels - expected
        ).abs().mean() < 4  # a palette has edges, and chroma half their sharpness


def test_a_png_with_a_color_profile(tmp_path: Path):
    """PyAV frees the profile's name twice, which ends the process at one of the first few pictures."""
    for number in range(40):
        save(tmp_path / f"{number}.png", smooth(), icc_profile=bytes(300))
    expected = torch.tensor(np.asarray(smooth())).permute(2, 0, 1)
    with open_video(tmp_path) as video:
        pixels = video.frames(range(40)).pixels
    assert (pixels == expected).all()


def test_a_png_of_16_bits(tmp_path: Path):
    level = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20
    save(tmp_path / "1.png", Image.fromarray(level))
    for pixels in shown(tmp_path):
        assert (pixels.mean(-1) - torch.from_numpy(level / 257)).abs().max() < 2


def test_the_content_counts_and_not_the_suffix(tmp_path: Path):
    save(tmp_path / "1.png", gray(77))
    (tmp_path / "1.png").rename(tmp_path / "1.jpg")
    assert all((pixels - 77).abs().max() <= 2 for pixels in shown(tmp_path))


def test_gray_and_color_images_in_one_series(tmp_path: Path):
    save(tmp_path / "1.jpg", smooth(), quality=95)
    save(tmp_path / "2.jpg", smooth().convert("L"), quality=95)
    save(tmp_path / "3.jpg", smooth(), quality=95, keep_rgb=True)
    with open_video(tmp_path) as video:
        for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
            apart = (
                to_rgb(video.planes(order)).float()
                - video.frames(order).pixels.float()
            )
            assert apart.abs().mean((1, 2, 3)).max() < 3
