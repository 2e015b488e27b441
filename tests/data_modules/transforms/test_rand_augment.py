import data_modules  # noqa: F401, I001  # first: makes torchvision importable, which timm imports

import math
import pickle
import random
from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from data_modules.transforms.operations import Operation, Operations
from data_modules.transforms.rand_augment import (
    ARGUMENTS,
    INCREASING,
    RandAugmentPolicy,
    RandAugment,
)
from data_modules.sampling.randomness import keyed_generator
from tests.data_modules.pictures import by_pillow, video_of

FILL = (124, 116, 104)


def rng(name: object = 0) -> np.random.Generator:
    return keyed_generator(0, 0, str(name))


def drawn(augment: RandAugment, clips: int) -> list[Operations]:
    return [augment.draw(8, 224, rng(clip)) for clip in range(clips)]


@pytest.mark.parametrize(
    "text",
    [
        "rand-m7-n4-mstd0.5-inc1",
        "rand-m9-mstd0.5-inc1",
        "rand-m9-n3-mstd0.5",
        "rand",
        "rand-n1-p0.9-m15-mmax20-inc0",
        "rand-mstd101-m5",
    ],
)
def test_policies_are_read_as_timm_reads_them(text: str):
    policy, theirs = (
        RandAugmentPolicy.parse(text),
        auto_augment.rand_augment_transform(text, {"img_mean": FILL}),
    )
    names = (
        auto_augment._RAND_INCREASING_TRANSFORMS
        if policy.inc
        else auto_augment._RAND_TRANSFORMS
    )
    operation = theirs.ops[0]
    assert [op.name for op in theirs.ops] == names
    assert (policy.n, policy.p, policy.m) == (
        theirs.num_layers,
        operation.prob,
        operation.magnitude,
    )
    assert (
        math.inf if policy.mstd > 100 else policy.mstd
    ) == operation.magnitude_std
    assert policy.mmax == (operation.magnitude_max or 10)
    assert list(INCREASING if policy.inc else ARGUMENTS) == [
        name.removesuffix("Increasing") for name in names
    ]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("increasing", [False, True])
def test_arguments_are_timms_at_every_level(
    increasing: bool, sign: int, monkeypatch
):
    monkeypatch.setattr(
        random, "random", lambda: 0.4 if sign > 0 else 0.6
    )  # timm turns the sign above one half
    names = (
        auto_augment._RAND_INCREASING_TRANSFORMS
        if increasing
        else auto_augment._RAND_TRANSFORMS
    )
    arguments = INCREASING if increasing else ARGUMENTS
    for name in names:
        theirs = auto_augment.LEVEL_TO_ARG[name]
        for magnitude in [*np.linspace(0, 20, 333).tolist(), 2.5, 5.0, 7.5, 10.0]:
            found = arguments[name.removesuffix("Increasing")](magnitude / 10, sign)
            expected = theirs(magnitude, {})[0] if theirs else 0
            # beyond level 10 timm's Posterize leaves the range of bits; it then keeps all, or none
            limits = (
                (0, 8) if name.startswith("Posterize") else (-math.inf, math.inf)
            )
            assert found == pytest.approx(np.clip(expected, *limits), abs=1e-12), (
                name,
                magnitude,
            )


def test_operations_are_uniform_and_half_of_them_happen():
    clips = 1500
    count = Counter(
        step.name
        for steps in drawn(RandAugment("rand-m7-n4-mstd0.5-inc1"), clips)
        for step in steps.steps
    )
    assert set(count) == set(INCREASING)
    expected = clips * 4 * 0.5 / len(INCREASING)
    assert (
        sum((times - expected) ** 2 / expected for times in count.values()) < 36.1
    )  # chi-square, 14 degrees, 0.1 %
    happened = Counter(
        len(steps.steps) for steps in drawn(RandAugment("rand-n3-p0.8"), clips)
    )
    for k in range(4):
        share = math.comb(3, k) * 0.8**k * 0.2 ** (3 - k)
        assert abs(happened[k] - clips * share) < 4 * math.sqrt(
            clips * share * (1 - share)
        )


def degrees(policy: str, clips: int = 4000) -> np.ndarray:
    """Of all rotations; 30 at magnitude 10."""
    return np.array(
        [
            s.value
            for steps in drawn(RandAugment(policy), clips)
            for s in steps.steps
            if s.name == "Rotate"
        ]
    )


def test_magnitudes_are_timms_clipped_normal():
    values = degrees("rand-m9-n4-mstd0.5-p1")
    magnitude = np.sort(np.abs(values) / 3)
    count = len(magnitude)
    assert magnitude.max() == 10
    clipped = (magnitude == 10).mean()
    assert abs(clipped - 0.02275) < 4 * math.sqrt(
        0.02275 / count
    )  # two deviations above the mean
    below = magnitude[magnitude < 10]
    expected = np.array([NormalDist(9, 0.5).cdf(value) for value in below])
    assert np.abs(
        np.arange(1, len(below) + 1) / count - expected
    ).max() < 1.95 / math.sqrt(count)  # KS, 0.1 %
    assert abs((values > 0).mean() - 0.5) < 2 / math.sqrt(count)


def test_other_magnitudes():
    fixed = np.abs(degrees("rand-m4-n4-p1", 500))
    assert np.allclose(fixed, 12)
    uniform = np.sort(np.abs(degrees("rand-m10-mstd101-n4-p1", 1500)) / 30)
    assert (
        np.abs(uniform - np.linspace(0, 1, len(uniform))).max()
        < 1.95 / math.sqrt(len(uniform)) + 0.01
    )
    assert np.allclose(np.abs(degrees("rand-m15-mmax12-n4-p1", 300)), 36)


def by_timm(step: Operation, video: torch.Tensor) -> torch.Tensor:
    options = {
        "resample": getattr(Image.Resampling, step.interpolation.upper()),
        "fillcolor": FILL,
    }
    value = (
        int(step.value)
        if step.name in ("Posterize", "Solarize", "SolarizeAdd")
        else step.value
    )
    arguments = (
        () if step.name in ("AutoContrast", "Equalize", "Invert") else (value,)
    )
    return by_pillow(
        lambda image: auto_augment.NAME_TO_OP[step.name](
            image, *arguments, **options
        ),
        video,
    )


@pytest.mark.parametrize(
    "policy", ["rand-m7-n4-mstd0.5-inc1", "rand-m9-n4-mstd0.5"]
)
def test_every_step_is_timms(policy: str):
    """Each from where ours stands: a level apart may be many after an equalisation."""
    seen = set[str]()
    for steps in drawn(RandAugment(policy, fill=FILL), 60):
        video = video_of(2, 32, 40)
        for step in steps.steps:
            expected, video = by_timm(step, video), Operations((step,), FILL)(video)
            assert (video.int() - expected.int()).abs().max() <= 1, step
            seen.add(step.name)
    assert seen == set(ARGUMENTS)


def test_one_draw_for_all_frames_and_the_key_decides():
    still = video_of(1, 32, 32).expand(4, 3, 32, 32)
    for clip in range(20):
        steps = RandAugment().draw(4, 32, rng(clip))
        assert steps == RandAugment().draw(4, 32, rng(clip))
        assert len(pickle.dumps(steps)) < 500
        frames = pickle.loads(pickle.dumps(steps))(still)
        assert all(torch.equal(frame, frames[0]) for frame in frames)
    assert len(set(drawn(RandAugment(), 50))) > 40


def test_interpolation():
    def used(interpolation) -> set[str]:
        return {
            s.interpolation
            for steps in drawn(RandAugment(interpolation=interpolation), 50)
            for s in steps.steps
        }

    assert used("random") == {"bilinear", "bicubic"}
    assert used("bilinear") == {"bilinear"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "augmix-m3",
        "rand-x3",
        "rand-m",
        "rand-m7.5",
        "rand-n1.5",
        "rand-p1.5",
        "rand-m7--n2",
        "rand-tweights",
    ],
)
def test_bad_policies_say_what_is_good(text: str):
    with pytest.raises(
        ValueError,
        match=r"policy: expected such as 'rand-m7-n4-mstd0.5-inc1', with whole numbers m",
    ):
        RandAugment(text)


@pytest.mark.gpu
def test_cuda_agrees():
    for steps in drawn(RandAugment(), 40):
        video = video_of(2, 32, 40)
        for step in steps.steps:
            one = Operations((step,))
            other, video = one(video.cuda()).cpu(), one(video)
            assert (other.int() - video.int()).abs().max() <= 2
