import pickle

import numpy as np
import pytest
import torch

from data_modules.sampling.randomness import keyed_generator
from data_modules.transforms.augment import (
    Augmentation,
    ColorJitter,
    Erasure,
    Grayscale,
    RandomErasing,
    apply,
)
from data_modules.transforms.crops import Box, TrainCrop
from data_modules.transforms.operations import Operation, Operations, gray
from data_modules.transforms.rand_augment import RandAugment

ALL = [
    RandAugment(),
    ColorJitter(hue=0.1),
    Grayscale(1.0),
    RandomErasing(1.0),
    RandomErasing(1.0, mode="const"),
]


def rng(name: object = 0) -> np.random.Generator:
    return keyed_generator(0, 0, str(name))


def noise(frames: int = 2, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (frames, 3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
def test_changes_are_small_travel_and_leave_their_input_alone(
    augmentation: Augmentation,
):
    for k in range(5):
        clip, change = noise(), augmentation.draw(2, 32, rng(k))
        kept = clip.clone()
        changed = change(clip)
        assert torch.equal(clip, kept)
        assert (changed.shape, changed.dtype) == (clip.shape, torch.uint8)
        assert len(pickle.dumps(change)) < 500
        assert torch.equal(pickle.loads(pickle.dumps(change))(clip), changed)
        assert torch.equal(augmentation.draw(2, 32, rng(k))(clip), changed)


@pytest.mark.gpu
@pytest.mark.parametrize("augmentation", ALL[1:], ids=repr)
def test_cuda_agrees(augmentation: Augmentation):
    clip, change = noise(), augmentation.draw(2, 32, rng())
    assert (change(clip.cuda()).cpu().int() - change(clip).int()).abs().max() <= 2


def test_apply_is_space_then_each_change():
    video = noise(3, 48)
    recipe, changes = (
        TrainCrop().draw(48, 48, 32, rng()),
        [a.draw(3, 32, rng(k)) for k, a in enumerate(ALL)],
    )
    expected = recipe(recipe.box.cut(video))
    for change in changes:
        expected = change(expected)
    assert torch.equal(apply(recipe, changes, recipe.box.cut(video)), expected)
    assert torch.equal(
        apply(recipe, [], recipe.box.cut(video)), recipe(recipe.box.cut(video))
    )


def test_color_jitter_draws_uniform_factors_in_any_order():
    drawn = [
        ColorJitter(0.4, 1.5, 0.2, 0.1).draw(8, 224, rng(k)).steps
        for k in range(2000)
    ]
    limits = {
        "Brightness": (0.6, 1.4),
        "Contrast": (0.0, 2.5),
        "Color": (0.8, 1.2),
        "Hue": (-0.1, 0.1),
    }
    for name, (low, high) in limits.items():
        values = np.sort(
            [step.value for steps in drawn for step in steps if step.name == name]
        )
        expected = low + (high - low) * (np.arange(2000) + 0.5) / 2000
        assert np.abs(values - expected).max() < (high - low) * 1.95 / np.sqrt(
            2000
        )  # Kolmogorov-Smirnov, 0.1 %
        first = sum(steps[0].name == name for steps in drawn)
        assert abs(first - 500) < 4 * 19.4
    assert len({tuple(step.name for step in steps) for steps in drawn}) == 24
    assert [
        step.name for step in ColorJitter(0.0, 0.0, 0.3).draw(8, 224, rng()).steps
    ] == ["Color"]


def test_grayscale():
    changes = [Grayscale().draw(2, 32, rng(k)) for k in range(2000)]
    assert (
        abs(
            sum(
                change == Operations((Operation("Color", 0.0),))
                for change in changes
            )
            - 400
        )
        < 4 * 18
    )
    clip = noise()
    assert torch.equal(
        Grayscale(1.0).draw(2, 32, rng())(clip), gray(clip).expand(-1, 3, -1, -1)
    )
    assert torch.equal(Grayscale(0.0).draw(2, 32, rng())(clip), clip)


def boxes(erasing: RandomErasing, size: int, clips: int) -> list[Box]:
    changes = [erasing.draw(8, size, rng(k)) for k in range(clips)]
    return [change.box for change in changes if isinstance(change, Erasure)]


def test_erased_boxes_keep_the_law():
    top, left, height, width = np.array(
        boxes(RandomErasing(1.0, area=(0.02, 0.2)), 224, 4000)
    ).T
    area = np.sort(height * width / 224**2)
    expected = 0.02 + 0.18 * (np.arange(len(area)) + 0.5) / len(area)
    assert (
        np.abs(area - expected).max() < 0.18 * 1.95 / np.sqrt(len(area)) + 0.005
    )  # whole pixels
    aspect = np.sort(np.log(height / width))
    expected = np.log(0.3) * (1 - 2 * (np.arange(len(aspect)) + 0.5) / len(aspect))
    assert (
        np.abs(aspect - expected).max()
        < 2 * -np.log(0.3) * 1.95 / np.sqrt(len(aspect)) + 0.05
    )
    assert (
        (top >= 0) & (top + height <= 224) & (left >= 0) & (left + width <= 224)
    ).all()
    assert abs((top / (224 - height)).mean() - 0.5) < 0.03
    assert (top + height == 224).any()
    assert abs(len(boxes(RandomErasing(), 224, 2000)) - 500) < 4 * 19.4
    assert not boxes(
        RandomErasing(1.0, area=(1.0, 1.0), aspect=(1.0, 1.0)), 224, 5
    )  # no box is smaller than the frame


def test_one_box_for_all_frames_and_noise_for_each():
    change = Erasure(Box(3, 5, 20, 14), 7, (100.0, 120.0, 140.0), (20.0, 10.0, 5.0))
    clip = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    erased = change(clip)
    inside = change.box.cut(erased).double()
    change.box.cut(erased).zero_()
    assert not erased.any()
    assert not torch.equal(inside[0], inside[1])
    count = 40 * 20 * 14
    for channel, (mean, std) in enumerate(
        zip(change.mean, change.std, strict=True)
    ):
        values = inside[:, channel]
        assert abs(values.mean() - mean) < 4 * std / count**0.5
        assert (
            abs(values.var() - std**2 - 1 / 12) < 4 * std**2 * (2 / count) ** 0.5
        )  # 1 / 12: whole levels


def test_const_is_the_mean():
    erased = RandomErasing(1.0, mode="const").draw(2, 32, rng())(
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    )
    colors = set(map(tuple, erased.permute(0, 2, 3, 1).reshape(-1, 3).tolist()))
    assert colors == {(0, 0, 0), (124, 116, 104)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ColorJitter(contrast=-0.1),
            "contrast: expected 0 or more, got -0.1",
        ),
        (
            lambda: ColorJitter(hue=0.6),
            "hue: expected at most 0.5, half of the color circle, got 0.6",
        ),
        (lambda: Grayscale(1.2), "probability: expected 0 to 1, got 1.2"),
        (lambda: RandomErasing(-0.1), "probability: expected 0 to 1, got -0.1"),
        (
            lambda: RandomErasing(area=(0.0, 0.3)),
            r"area: expected 0 < smallest <= largest <= 1, got \(0.0, 0.3\)",
        ),
        (
            lambda: RandomErasing(aspect=(2.0, 1.0)),
            r"aspect: expected 0 < smallest <= largest, got \(2.0, 1.0\)",
        ),
    ],
)
def test_bad_numbers_are_named(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
