"""The conversion against the standards' equations in exact numbers, and against FFmpeg's own conversion."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from data_modules.transforms.crops import Box
from data_modules.video.colour import Planes, to_rgb

# E'Y as the standards print it: weights of R, G, B.
LUMA = {
    "bt601": ("0.299", "0.587", "0.114"),
    "bt709": ("0.2126", "0.7152", "0.0722"),
    "bt2020": ("0.2627", "0.6780", "0.0593"),
}
SPACES = {"bt601": 6, "bt709": 1, "bt2020": 9}  # ITU-T H.273


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
        assert rgb == pytest.approx(solved(matrix, full_range, y, u, v), abs=1)  # floats may round a half otherwise


@pytest.mark.parametrize(
    ("y", "full_range", "level"), [(16, False, 0), (235, False, 255), (0, True, 0), (255, True, 255)]
)
def test_black_and_white(y: int, full_range: bool, level: int):
    for matrix in LUMA:
        assert (to_rgb(flat(y, 128, 128, matrix, full_range)) == level).all()


def frame(matrix: str, full_range: bool, height: int = 48, width: int = 64) -> av.VideoFrame:
    picture = av.VideoFrame(width, height, "yuv420p")
    rng = np.random.default_rng(1)
    for plane in picture.planes:
        samples = rng.integers(60, 190, (plane.height, plane.line_size), dtype=np.uint8)  # few leave the RGB cube
        plane.update(samples.tobytes())
    picture.colorspace, picture.color_range = SPACES[matrix], 2 if full_range else 1
    return picture


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_it_agrees_with_ffmpeg_to_43_decibels(matrix: str, full_range: bool):
    picture = frame(matrix, full_range)
    data = torch.from_numpy(picture.to_ndarray(format="yuv420p").reshape(1, -1).copy())
    ours = to_rgb(Planes(data, 48, 64, Box(0, 0, 48, 64), matrix, full_range))[0].permute(1, 2, 0).float()
    theirs = torch.from_numpy(picture.to_ndarray(format="rgb24")).float()
    assert 10 * torch.log10(255**2 / ((ours - theirs) ** 2).mean()) >= 43  # their tables keep 6 to 8 bits of a sum


def test_the_box_is_cut_out_of_what_it_lies_in():
    data = torch.randint(0, 256, (3, 12 * 16 * 3 // 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = to_rgb(Planes(data, 12, 16, Box(0, 0, 12, 16), "bt709", False))
    part = to_rgb(Planes(data, 12, 16, Box(1, 3, 7, 9), "bt709", False))
    assert part.shape == (3, 3, 7, 9)
    assert torch.equal(part, whole[..., 1:8, 3:12])
