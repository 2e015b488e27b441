"""Neighbors vote as a plain loop in NumPy says, whatever fits in memory at a time."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from lightning_petl.metrics import neighbors
from lightning_petl.metrics.neighbors import neighbor_scores

T = 0.07


def brute_force(
    known: np.ndarray,
    labels: list[int],
    asked: np.ndarray,
    wanted: list[int],
    k: int,
) -> tuple[float, float]:
    """Top-1 and top-5, clip by clip and in float64."""
    first = fifth = 0
    for clip, label in zip(asked.astype(float), wanted, strict=True):
        cosines = []
        for other in known.astype(float):
            lengths = math.sqrt(clip @ clip) * math.sqrt(other @ other)
            cosines.append(float(clip @ other) / lengths)
        order = sorted(range(len(known)), key=lambda n: -cosines[n])
        votes = Counter[int]()
        for number in order[:k]:
            votes[labels[number]] += math.exp(cosines[number] / T)
        best = [name for name, _ in votes.most_common()]
        first += label in best[:1]
        fifth += label in best[:5]
    return first / len(asked), fifth / len(asked)


@pytest.mark.parametrize("at_a_time", [1, 200, 1 << 26])
def test_brute_force(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve classes in 16 dimensions, with lengths that must not matter."""
    monkeypatch.setattr(neighbors, "_AT_A_TIME", at_a_time)
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(12, 16))
    labels, wanted = draw.integers(12, size=90), draw.integers(12, size=40)
    known, asked = (
        (
            (centers[names] + 1.2 * draw.normal(size=(len(names), 16)))
            * draw.uniform(0.1, 9, size=(len(names), 1))
        ).astype(np.float32)
        for names in (labels, wanted)
    )
    done: list[int] = []
    found = neighbor_scores(
        torch.from_numpy(known),
        torch.from_numpy(labels),
        torch.from_numpy(asked),
        torch.from_numpy(wanted),
        ks=[1, 7, 30, 90],
        temperature=T,
        advance=done.append,
    )
    for k, top1, top5 in found:
        expected = brute_force(known, labels.tolist(), asked, wanted.tolist(), k)
        assert (top1, top5) == pytest.approx(expected)
    assert sum(done) == 40
    assert len(done) == (1 if at_a_time > 1e6 else 20 if at_a_time == 200 else 40)
    assert len({score[1:] for score in found}) > 2  # k matters here


def test_weights_decide_and_not_counts() -> None:
    """One near clip outvotes two at an angle of 60 degrees: exp(1 / 0.07) > 2 exp(0.5 / 0.07)."""
    known = torch.tensor(
        [[1.0, 0.0], [0.5, math.sqrt(0.75)], [0.5, -math.sqrt(0.75)]]
    )
    labels, asked = torch.tensor([1, 0, 0]), torch.tensor([[2.0, 0.0]])
    for temperature, right in ((T, 1.0), (10.0, 0.0)):
        (score,) = neighbor_scores(
            known, labels, asked, torch.tensor([1]), ks=[3], temperature=temperature
        )
        assert score.top1 == right


def test_a_class_without_a_vote_is_not_among_the_five() -> None:
    known, labels = torch.eye(3), torch.tensor([0, 1, 2])
    (score,) = neighbor_scores(
        known,
        labels,
        torch.tensor([[1.0, 0.2, 0.1]]),
        torch.tensor([2]),
        ks=[2],
        temperature=T,
    )
    assert score.top5 == 0
    (score,) = neighbor_scores(
        known,
        labels,
        torch.tensor([[1.0, 0.2, 0.1]]),
        torch.tensor([4]),
        ks=[3],
        temperature=T,
    )
    assert score.top5 == 0
