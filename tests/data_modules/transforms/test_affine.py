import data_modules  # noqa: F401, I001  # first: makes torchvision importable, which timm imports

import pytest
import torch
from PIL import Image
from timm.data import auto_augment as timm_ops

from data_modules.transforms.affine import affine, rotation
from data_modules.transforms.operations import Operation, Operations
from tests.data_modules.pictures import apart, by_pillow, video_of

SIZES = [(3, 48, 48), (2, 31, 52)]
TENTHS = (
    -0.45,
    0.3,
)  # shifts by tenths of a pixel make many sums whole, and Pillow's fall just short of some

MOTION = [
    *[
        ("Rotate", degrees, timm_ops.rotate)
        for degrees in (-30.0, -7.3, 0.0, 13.2, 30.0)
    ],
    *[("ShearX", part, timm_ops.shear_x) for part in (-0.3, 0.0, 0.127)],
    *[("ShearY", part, timm_ops.shear_y) for part in (-0.3, 0.0, 0.127)],
    *[
        ("TranslateXRel", part, timm_ops.translate_x_rel)
        for part in (-0.45, -0.117, 0.0, 0.25, 0.3)
    ],
    *[
        ("TranslateYRel", part, timm_ops.translate_y_rel)
        for part in (-0.45, -0.117, 0.0, 0.25, 0.3)
    ],
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("name", "value", "pillow"), MOTION)
def test_motions_are_within_a_level_of_pillow(
    name: str, value: float, pillow, interpolation, size
):
    video, fill = video_of(*size), (124, 116, 104)
    moved = Operations((Operation(name, value, interpolation),), fill)(video)
    resample = getattr(Image.Resampling, interpolation.upper())
    expected = by_pillow(
        lambda image: pillow(image, value, resample=resample, fillcolor=fill), video
    )
    assert apart(moved, expected).max() <= 1
    assert (moved != expected).float().mean() < 0.01 or value in TENTHS


def test_moving_by_whole_pixels_is_exact():
    video = video_of(1, 32, 32)
    moved = affine(video, (1.0, 0.0, 8.0, 0.0, 1.0, -3.0), "bicubic", (7, 8, 9))
    assert torch.equal(moved[..., 3:, :24], video[..., :-3, 8:])
    assert moved[0, :, 0, 0].tolist() == [7, 8, 9]
    assert moved[0, :, 31, 31].tolist() == [7, 8, 9]


def test_quarter_turns():
    video = video_of(2, 32, 32)
    assert torch.equal(
        affine(video, rotation(90.0, 32, 32), "bilinear", (0, 0, 0)),
        video.rot90(1, (2, 3)),
    )


@pytest.mark.gpu
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("name", "value", "pillow"), MOTION)
def test_cuda_agrees(name: str, value: float, pillow, interpolation):
    video, steps = video_of(), Operations((Operation(name, value, interpolation),))
    assert apart(steps(video.cuda()).cpu(), steps(video)).max() <= 1
