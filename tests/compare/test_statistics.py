"""Intervals against closed forms and another library, spread, and what no other method beats."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from lightning_petl.compare.scores import RunScores
from lightning_petl.compare.statistics import paired_difference, pareto, spread


def scores(hits: Sequence[float], clips: Sequence[str] | None = None) -> RunScores:
    """Scores of clips that are right or wrong; captions of the same video where names are given."""
    names = clips or [f"{number:05}" for number in range(len(hits))]
    keys = tuple((name, str(n), 0) for n, name in enumerate(names))
    values = np.array(hits, dtype=np.float64)
    clip = np.unique(names, return_inverse=True)[1]
    labels = np.zeros(len(hits), int)
    return RunScores(keys, {"top1": values}, clip, labels, 2, 0)


def binomial_quantile(n: int, p: float, q: float) -> int:
    """The smallest k with P(X <= k) >= q, from exact probabilities."""
    total = 0.0
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        if total >= q:
            return k
    return n


@pytest.mark.parametrize(("better", "clips"), [(6, 40), (30, 200)])
def test_the_interval_of_one_sided_differences_is_binomial(
    better: int, clips: int
) -> None:
    """Where the first is right on some clips more and never wrong where the second is right, a draw is binomial."""
    first = [1.0] * better + [0.0] * (clips - better)
    found = paired_difference([scores(first)], [scores([0.0] * clips)], "top1")
    assert found.value == pytest.approx(better / clips)
    assert found.clips == clips
    for end, q in ((found.low, 0.025), (found.high, 0.975)):
        exact = binomial_quantile(clips, better / clips, q) / clips
        assert end == pytest.approx(exact, abs=1.01 / clips)


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    """McNemar's: b clips for the first, c for the second, variance (b + c - (b - c)^2 / n) / n^2."""
    n = 4000
    b = 500
    c = 380
    first = [1.0] * b + [0.0] * c + [1.0] * (n - b - c)
    second = [0.0] * b + [1.0] * c + [1.0] * (n - b - c)
    found = paired_difference([scores(first)], [scores(second)], "top1")
    half = 1.959964 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    assert found.value == pytest.approx((b - c) / n)
    assert found.low == pytest.approx(found.value - half, abs=0.05 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.05 * half)


def test_the_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(3)
    pairs = random.random((2, 3, 300)) < np.array([0.7, 0.6])[:, None, None]
    first = [scores(seed) for seed in pairs[0].astype(float)]
    second = [scores(seed) for seed in pairs[1].astype(float)]
    found = paired_difference(first, second, "top1")
    difference = pairs[0].mean(0) - pairs[1].mean(0)
    expected = stats.bootstrap(
        (difference,), np.mean, n_resamples=10_000, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    width = expected.high - expected.low
    assert found.value == pytest.approx(difference.mean())
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)


def test_captions_of_one_video_are_drawn_together() -> None:
    """Each caption four times says no more than once; drawn one by one, the interval would be half as wide."""
    random = np.random.default_rng(1)
    first = (random.random(100) < 0.7).astype(float)
    second = (random.random(100) < 0.5).astype(float)
    once = paired_difference([scores(first)], [scores(second)], "top1")
    names = [f"{number // 4:05}" for number in range(400)]
    often = paired_difference(
        [scores(first.repeat(4), names)], [scores(second.repeat(4), names)], "top1"
    )
    assert often == pytest.approx(once)
    assert often.clips == 100


def test_a_video_with_more_captions_weighs_more() -> None:
    """The difference is the mean over captions, and so is every draw: with two videos there are three draws."""
    names = ["a", "a", "a", "b"]
    found = paired_difference(
        [scores([1, 1, 1, 0], names)], [scores([0, 0, 0, 0], names)], "top1"
    )
    assert found.value == pytest.approx(0.75)
    assert (found.low, found.high) == (0.0, 1.0)


def test_equal_methods_have_no_interval() -> None:
    same = scores([1, 0, 1])
    assert paired_difference([same], [same, same], "top1")[:3] == (0, 0, 0)


def test_the_spread_is_that_of_a_sample() -> None:
    assert spread([1.0]) is None
    assert spread([1.0, 3.0]) == pytest.approx(math.sqrt(2))


def test_the_front_is_what_nothing_dominates() -> None:
    random = np.random.default_rng(0)
    costs = random.integers(0, 8, 40).astype(float).tolist()
    values = random.integers(0, 8, 40).astype(float).tolist()
    front = {(costs[index], values[index]) for index in pareto(costs, values)}
    expected = set()
    for cost, value in zip(costs, values, strict=True):
        beaten = False
        for other, its_value in zip(costs, values, strict=True):
            no_worse = other <= cost and its_value >= value
            beaten |= no_worse and (other, its_value) != (cost, value)
        if not beaten:
            expected.add((cost, value))
    assert front == expected
    assert len(pareto(costs, values)) == len(expected)
