"""The conversion against the standards' equations in exact numbers, and against FFmpeg's own conversion."""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from data_modules.transforms.crops import Box
from data_modules.video.color import Planes, to_rgb
from data_modules.video.decode import open_video
from data_modules.video.encode import Raster, write_fast_video

# E'Y as the standards print it: weights of R, G, B.
LUMA = {
    "bt601": ("0.299", "0.587", "0.114"),
    "bt709": ("0.2126", "0.7152", "0.0722"),
    "bt2020": ("0.2627", "0.6780", "0.0593"),
    "fcc": ("0.30", "0.59", "0.11"),
    "smpte240m": ("0.212", "0.701", "0.087"),
}
SPACES = {
    "bt601": 6,
    "bt709": 1,
    "bt2020": 9,
    "fcc": 4,
    "smpte240m": 7,
}  # ITU-T H.273
# What FFmpeg takes each number of ITU-T H.273 table 4 for; None: it refuses to convert.
ALL = {0: "bt601", 1: "bt709", 2: "bt601", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 8: None, 9: "bt2020",
       10: None, 11: None, 12: None, 13: None, 14: None, 15: None, 16: None, 17: None}  # fmt: skip


def solved(matrix: str, full_range: bool, y: int, u: int, v: int) -> list[int]:
    """RGB that the standard's forward equations map to (y, u, v), rounded; from fractions."""
    red, green, blue = (Fraction(weight) for weight in LUMA[matrix])
    luma = Fraction(y, 255) if full_range else Fraction(y - 16, 219)
    cb, cr = (Fraction(c - 128, 255 if full_range else 224) for c in (u, v))
    b = luma + cb * 2 * (1 - blue)  # E'Cb = (E'B - E'Y) / (2 (1 - Kb))
    r = luma + cr * 2 * (1 - red)
    g = (luma - red * r - blue * b) / green
    return [min(255, max(0, round(255 * channel))) for channel in (r, g, b)]


def flat(y: int, u: int, v: int, matrix: str, full_range: bool) -> Planes:
    data = torch.tensor([[y] * 4 + [u, v]], dtype=torch.uint8)
    return Planes(data, 2, 2, Box(0, 0, 2, 2), matrix, full_range)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_levels_are_those_of_the_standard(matrix: str, full_range: bool):
    for y, u, v in np.random.default_rng(0).integers(0, 256, (300, 3)).tolist():
        rgb = to_rgb(flat(y, u, v, matrix, full_range))[0, :, 1, 1].tolist()
        assert rgb == pytest.approx(
            solved(matrix, full_range, y, u, v), abs=1
        )  # floats may round a half otherwise


@pytest.mark.parametrize(
    ("y", "full_range", "level"),
    [(16, False, 0), (235, False, 255), (0, True, 0), (255, True, 255)],
)
def test_black_and_white(y: int, full_range: bool, level: int):
    for matrix in LUMA:
        assert (to_rgb(flat(y, 128, 128, matrix, full_range)) == level).all()


def frame(
    matrix: str, full_range: bool, height: int = 48, width: int = 64
) -> av.VideoFrame:
    picture = av.VideoFrame(width, height, "yuv420p")
    rng = np.random.default_rng(1)
    for plane in picture.planes:
        samples = rng.integers(
            60, 190, (plane.height, plane.line_size), dtype=np.uint8
        )  # few leave the RGB cube
        plane.update(samples.tobytes())
    picture.colorspace, picture.color_range = SPACES[matrix], 2 if full_range else 1
    return picture


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_it_agrees_with_ffmpeg_to_43_decibels(matrix: str, full_range: bool):
    picture = frame(matrix, full_range)
    data = torch.from_numpy(
        picture.to_ndarray(format="yuv420p").reshape(1, -1).copy()
    )
    ours = (
        to_rgb(Planes(data, 48, 64, Box(0, 0, 48, 64), matrix, full_range))[0]
        .permute(1, 2, 0)
        .float()
    )
    theirs = torch.from_numpy(picture.to_ndarray(format="rgb24")).float()
    assert (
        10 * torch.log10(255**2 / ((ours - theirs) ** 2).mean()) >= 43
    )  # their tables keep 6 to 8 bits of a sum


def test_the_box_is_cut_out_of_what_it_lies_in():
    data = torch.randint(
        0,
        256,
        (3, 12 * 16 * 3 // 2),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    whole = to_rgb(Planes(data, 12, 16, Box(0, 0, 12, 16), "bt709", False))
    part = to_rgb(Planes(data, 12, 16, Box(1, 3, 7, 9), "bt709", False))
    assert part.shape == (3, 3, 7, 9)
    assert torch.equal(part, whole[..., 1:8, 3:12])


def encoded(folder: Path, number: int, full_range: bool, pixel_format: str) -> Path:
    """Flat, so that no scaler of chroma matters, and of this matrix by its header."""
    path = folder / "clip.mp4"
    colors = (
        f"scale=out_range={'pc' if full_range else 'tv'},geq=lum=120:cb=90:cr=170"
    )
    header = f"h264_metadata=matrix_coefficients={number}:video_full_range_flag={int(full_range)}"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "color=gray:s=32x32:r=5:d=1",
    ]
    command += [
        "-vf",
        f"format={pixel_format},{colors}",
        "-c:v",
        "libx264",
        "-qp",
        "1",
        "-bsf:v",
        header,
        str(path),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("number", "matrix"), ALL.items())
def test_every_matrix_that_a_file_may_name(
    tmp_path: Path,
    number: int,
    matrix: str | None,
    full_range: bool,
    pixel_format: str,
):
    if (number, pixel_format) == (0, "yuv444p"):
        pytest.skip("the three planes are green, blue and red themselves")
    with open_video(encoded(tmp_path, number, full_range, pixel_format)) as video:
        reads = [
            lambda: video.frames([1]).pixels,
            lambda: to_rgb(video.planes([1])),
        ]
        if matrix is None:
            told = rf"clip\.mp4: its color matrix is .* \(number {number} of ITU-T H.273\), .* zscale=matrix=709"
            for read in (*reads, video.check):
                with pytest.raises(ValueError, match=told):
                    read()
            return
        for read in reads:
            expected = solved(matrix, full_range, 120, 90, 170)
            assert read()[0, :, 9, 9].tolist() == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full_range", [False, True])
def test_a_copy_keeps_the_matrix(tmp_path: Path, matrix: str, full_range: bool):
    path, pictures = (
        tmp_path / "copy.mp4",
        [np.full(32 * 32 * 3 // 2, 100, np.uint8)] * 3,
    )
    raster = Raster(32, 32, matrix, full_range)
    write_fast_video(
        path, pictures, raster, ticks=[0, 1, 2, 3], time_base=Fraction(1, 25), crf=1
    )
    with open_video(path) as video:
        planes = video.planes([1])
    assert (planes.matrix, planes.full_range) == (matrix, full_range)
