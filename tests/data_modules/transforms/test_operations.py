import data_modules  # noqa: F401, I001  # first: makes torchvision importable, which timm imports

import colorsys
import pickle

import pytest
import torch
from PIL import ImageEnhance, ImageOps
from timm.data import auto_augment as timm_ops

from data_modules.transforms.operations import Step, Steps, grey
from tests.data_modules.pictures import apart, by_pillow, video_of

SIZES = [(3, 48, 48), (2, 31, 52)]


EXACT = [
    ("AutoContrast", 0.0, ImageOps.autocontrast),
    ("Equalize", 0.0, ImageOps.equalize),
    ("Invert", 0.0, ImageOps.invert),
    *[
        ("Posterize", bits, lambda image, bits=bits: timm_ops.posterize(image, bits))
        for bits in range(1, 9)
    ],
    *[
        ("Solarize", at, lambda image, at=at: ImageOps.solarize(image, at))
        for at in (0, 1, 77, 255, 256)
    ],
    *[
        ("SolarizeAdd", add, lambda image, add=add: timm_ops.solarize_add(image, add))
        for add in (0, 1, 77, 128)
    ],
    *[
        (
            name,
            factor,
            lambda image, enhance=enhance, factor=factor: enhance(image).enhance(
                factor
            ),
        )
        for name, enhance in [
            ("Color", ImageEnhance.Color),
            ("Contrast", ImageEnhance.Contrast),
            ("Brightness", ImageEnhance.Brightness),
            ("Sharpness", ImageEnhance.Sharpness),
        ]
        for factor in (0.0, 0.1, 0.37, 1.0, 1.63, 1.9)
    ],
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "value", "pillow"), EXACT)
def test_equal_to_pillow_bit_for_bit(
    name: str, value: float, pillow, size: tuple[int, int, int]
):
    video = video_of(*size)
    kept = video.clone()
    assert torch.equal(
        Steps((Step(name, float(value)),))(video), by_pillow(pillow, video)
    )
    assert torch.equal(video, kept)


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize"])
def test_flat_and_few_pixels_as_pillow(name: str):
    pillow = {"AutoContrast": ImageOps.autocontrast, "Equalize": ImageOps.equalize}[
        name
    ]
    flat = torch.full((1, 3, 20, 20), 93, dtype=torch.uint8)
    few = torch.randint(
        0, 256, (2, 3, 12, 15), dtype=torch.uint8
    )  # 180 pixels: a step of equalize is 0
    some = torch.randint(
        0, 256, (2, 3, 20, 20), dtype=torch.uint8
    )  # 400: a step of 1, and sums above 255
    lonely = flat.clone()
    lonely[..., 0, 0] = 255
    for video in (flat, few, some, lonely):
        assert torch.equal(Steps((Step(name),))(video), by_pillow(pillow, video))


def test_no_bits_are_black():
    """timm asks for it at level 10 and Pillow 12 and later refuse; earlier ones masked all bits."""
    assert not Steps((Step("Posterize", 0.0),))(video_of()).any()


def test_grey_is_pillows():
    video = video_of()
    expected = by_pillow(lambda image: image.convert("L").convert("RGB"), video)
    assert torch.equal(grey(video).expand(-1, 3, -1, -1), expected)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.04, 0.3, 0.5])
def test_hue_is_that_of_colorsys(turn: float):
    colours = torch.randint(0, 256, (500, 3), dtype=torch.uint8)
    colours[:5] = torch.tensor(
        [[0, 0, 0], [255, 255, 255], [9, 9, 9], [255, 0, 0], [0, 200, 200]],
        dtype=torch.uint8,
    )
    turned = (
        Steps((Step("Hue", turn),))(colours.T.reshape(1, 3, 20, 25)).reshape(3, 500).T
    )
    for colour, found in zip(colours, turned, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(colour.double() / 255).tolist())
        expected = (
            torch.tensor(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)) * 255
        )
        assert (
            found - expected
        ).abs().max() <= 0.51  # half a level of rounding, in float32


def test_steps_follow_each_other_and_travel():
    steps = Steps((Step("Rotate", 10.0), Step("Color", 0.3), Step("Equalize")))
    video = video_of()
    expected = video
    for step in steps.steps:
        expected = Steps((step,))(expected)
    assert torch.equal(pickle.loads(pickle.dumps(steps))(video), expected)
    assert len(pickle.dumps(steps)) < 300
    assert Steps()(video) is video


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, value, _ in EXACT] + [("Hue", 0.2)]
)
def test_cuda_agrees(name: str, value: float):
    video, steps = video_of(), Steps((Step(name, float(value)),))
    assert apart(steps(video.cuda()).cpu(), steps(video)).max() <= 1
