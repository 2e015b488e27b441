import data_modules  # noqa: F401, I001  # first: makes torchvision importable, which timm imports

import numpy as np
import pytest
import torch
from timm.data import mixup
from timm.data.mixup import Mixup

from data_modules.transforms.mixing import Mix, Mixed, Mixing, mix_pair
from data_modules.sampling.randomness import keyed_generator
from data_modules.transforms.crops import Box


def rng(name: object = 0) -> np.random.Generator:
    return keyed_generator(0, 0, str(name))


def batch(
    clips: int = 8, size: int = 16
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    video = torch.randint(0, 256, (clips, 2, 3, size, size), dtype=torch.uint8)
    return video, torch.arange(clips), [f"clip {k}" for k in range(clips)]


def mixed(
    mixing: Mixing, parts: int, clips: tuple[torch.Tensor, torch.Tensor, list[str]]
) -> Mixed:
    """As that many ranks see it, put together again."""
    video, label, names = clips
    size = len(names) // parts
    cuts = [slice(part * size, (part + 1) * size) for part in range(parts)]
    each = [
        mixing(video[cut], label[cut], names[cut], seed=1, epoch=2) for cut in cuts
    ]
    return Mixed(*(torch.cat(tensors) for tensors in zip(*each, strict=True)))


class Chosen(np.random.Generator):
    """What it draws is given."""

    def __init__(
        self, weight: float, cutmix: bool, center: tuple[int, int]
    ) -> None:
        super().__init__(np.random.Philox(0))
        self.weight, self.cutmix, self.places = weight, cutmix, iter(center)
        self.alphas: list[float] = []

    def random(self, count: int) -> np.ndarray:
        return np.array([0.0, 0.0 if self.cutmix else 1.0])

    def beta(self, a: float, b: float) -> float:
        self.alphas += [a, b]
        return self.weight

    def integers(self, limit: int) -> int:
        return next(self.places)


@pytest.mark.parametrize("center", [(0, 0), (3, 11), (19, 10)])
@pytest.mark.parametrize("cutmix", [False, True])
@pytest.mark.parametrize("weight", [0.05, 0.3, 0.5, 0.77, 0.999])
def test_pairs_are_mixed_as_by_timm(
    weight: float, cutmix: bool, center: tuple[int, int], monkeypatch
):
    """timm mixes clip i with clip b - 1 - i, we 2i with 2i + 1: of two clips that is the same."""
    video, label, _ = batch(2, 20)
    theirs = Mixup(
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
        mode="pair",
        num_classes=2,
        label_smoothing=0.0,
    )
    monkeypatch.setattr(
        theirs,
        "_params_per_elem",
        lambda count: (np.full(count, weight), np.full(count, cutmix)),
    )
    monkeypatch.setattr(
        mixup,
        "one_hot",
        lambda x, classes, **_: torch.eye(classes, dtype=torch.float64)[x],
    )
    with monkeypatch.context() as patch:
        places = iter(center)
        patch.setattr(np.random, "randint", lambda low, high, size: next(places))
        expected, target = theirs(video.flatten(1, 2).double(), label)
    chosen = Chosen(weight, cutmix, center)
    mix = Mixing(mixup=0.8, cutmix=1.0).draw(20, 20, chosen)
    assert chosen.alphas == [1.0 if cutmix else 0.8] * 2
    assert (
        mix_pair(video, mix).flatten(1, 2) - expected
    ).abs().max() <= 0.5001  # rounded
    assert [mix.weight, 1 - mix.weight] == pytest.approx(
        target[0].tolist(), abs=1e-6
    )


def test_the_batch_is_pairs_of_neighbours():
    video, label, names = batch()
    result = Mixing()(video, label, names, seed=1, epoch=2)
    assert result.partner.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert torch.equal(result.weight[::2], result.weight[1::2])
    for first in range(0, 8, 2):
        key = f"mix/{names[first]}/{names[first + 1]}"
        mix = Mixing().draw(16, 16, keyed_generator(1, 2, key))
        assert result.weight[first] == pytest.approx(mix.weight)
        assert torch.equal(
            result.video[first : first + 2], mix_pair(video[first : first + 2], mix)
        )
    assert len(set(result.weight.tolist())) > 2


def test_the_same_for_any_number_of_ranks_and_any_place():
    clips = batch(12)
    whole = mixed(Mixing(), 1, clips)
    for parts in (2, 3, 6):
        assert all(
            torch.equal(a, b)
            for a, b in zip(mixed(Mixing(), parts, clips), whole, strict=True)
        )
    video, label, names = clips
    moved = Mixing()(
        video.roll(2, 0), label.roll(2), names[-2:] + names[:-2], seed=1, epoch=2
    )
    assert torch.equal(moved.video.roll(-2, 0), whole.video)
    other = Mixing()(video, label, names, seed=1, epoch=3)
    assert not torch.equal(other.weight, whole.weight)


def test_weights_are_the_share_of_own_pixels():
    """White and black: the mean of what a pair shows."""
    video = (
        torch.tensor([255, 0], dtype=torch.uint8)
        .view(2, 1, 1, 1, 1)
        .expand(2, 2, 3, 20, 20)
    )
    for clip in range(50):
        mix = Mixing().draw(20, 20, rng(clip))
        white, black = mix_pair(video, mix).double().mean(dim=(1, 2, 3, 4)) / 255
        assert abs(white - mix.weight) < 0.5 / 255
        assert abs(black - (1 - mix.weight)) < 0.5 / 255


def test_switch_probability_and_beta():
    mixes = [
        Mixing(mixup=2.0, cutmix=1.0, switch=0.3, probability=0.8).draw(
            16, 16, rng(k)
        )
        for k in range(4000)
    ]
    assert (
        abs(sum(mix.weight == 1.0 and mix.box is None for mix in mixes) - 800)
        < 4 * 25.3
    )
    assert (
        abs(sum(mix.box is not None for mix in mixes) - 4000 * 0.8 * 0.3) < 4 * 27
    )
    weights = np.sort(
        [mix.weight for mix in mixes if mix.box is None and mix.weight < 1]
    )
    expected = (
        3 * weights**2 - 2 * weights**3
    )  # distribution function of Beta(2, 2)
    steps = (np.arange(len(weights)) + 0.5) / len(weights)
    assert np.abs(expected - steps).max() < 1.95 / np.sqrt(
        len(weights)
    )  # Kolmogorov-Smirnov, 0.1 %


def test_one_of_the_two():
    assert all(
        Mixing(mixup=0.8, cutmix=0.0).draw(16, 16, rng(k)).box is None
        for k in range(50)
    )
    assert all(
        Mixing(mixup=0.0, cutmix=1.0, switch=0.0).draw(16, 16, rng(k)).box
        for k in range(50)
    )
    video, label, names = batch()
    same = Mixing(probability=0.0)(video, label, names, seed=0, epoch=0)
    assert torch.equal(same.video, video)
    assert same.weight.tolist() == [1.0] * 8


@pytest.mark.parametrize(
    "mix",
    [Mix(0.37), Mix(0.75, Box(2, 3, 8, 8)), Mix(1.0, Box(0, 0, 0, 0))],
    ids=repr,
)
def test_inputs_stay(mix: Mix):
    video = batch(2)[0]
    kept = video.clone()
    mix_pair(video, mix)
    assert torch.equal(video, kept)


@pytest.mark.gpu
def test_cuda_agrees():
    video, label, names = batch()
    here = Mixing()(video, label, names, seed=1, epoch=2)
    there = Mixing()(video.cuda(), label.cuda(), names, seed=1, epoch=2)
    assert (there.video.cpu().int() - here.video.int()).abs().max() <= 1
    assert torch.equal(there.partner.cpu(), here.partner)
    assert torch.equal(there.weight.cpu(), here.weight)


def test_bad_numbers_are_named():
    with pytest.raises(
        ValueError,
        match="batch_size: mixing takes clips in pairs, 3 is odd; take an even batch_size",
    ):
        Mixing()(*batch(3), seed=0, epoch=0)
    with pytest.raises(
        ValueError,
        match=r"mixup, cutmix: expected 0 or more and one above 0, got 0.0, 0.0",
    ):
        Mixing(mixup=0.0, cutmix=0.0)
    with pytest.raises(
        ValueError,
        match=r"mixup, cutmix: expected 0 or more and one above 0, got -1.0, 1.0",
    ):
        Mixing(mixup=-1.0)
    with pytest.raises(ValueError, match=r"switch: expected 0 to 1, got 1.5"):
        Mixing(switch=1.5)
