from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data_modules.transforms.crops import Box
from data_modules.video.colour import to_rgb
from data_modules.video.decode import open_video, probe
from data_modules.video.images import ImageTrack


def write(folder: Path, names: list[str], size: tuple[int, int] = (32, 48)) -> None:
    """Image i is flat grey at 10 i + 20."""
    folder.mkdir()
    for i, name in enumerate(names):
        grey = np.full((*size, 3), 10 * i + 20, np.uint8)
        pixel_format = "rgb24" if name.endswith(".png") else "yuvj420p"
        av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format=pixel_format).save(folder / name.lower())
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
    assert info == (12, 12.0, 1.0, 32, 48, "images", 12)
    with open_video(tmp_path / "clip") as video:
        frames = video.frames([0, 11, 3, 3])
        levels = to_rgb(video.planes([0, 11, 3, 3])).float().mean((1, 2, 3))
        video.check()
    assert frames.pixels.float().mean((1, 2, 3)).tolist() == pytest.approx([20, 130, 50, 50], abs=2)
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
        pytest.raises(ValueError, match="fps: a folder of images needs a rate above 0"),
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
    with pytest.raises(ValueError, match=r"1\.jpg: cannot be read as an image"), open_video(tmp_path / "clip") as video:
        video.frames([0])


def test_images_of_other_sizes_are_scaled_to_the_first(tmp_path: Path):
    write(tmp_path / "clip", ["1.jpg"])
    av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24").reformat(format="yuvj420p").save(
        tmp_path / "clip" / "2.jpg"
    )
    with open_video(tmp_path / "clip") as video:
        pixels = video.frames([0, 1]).pixels
    assert pixels.shape == (2, 3, 32, 48)
    assert torch.allclose(pixels[1].float(), torch.tensor(99.0), atol=2)
