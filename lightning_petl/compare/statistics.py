"""Say how far apart two results are, and how sure that is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from lightning_petl.compare.scores import RunScores, Values

DRAWS = 10_000
LEVEL = 0.95
# of the random numbers: the same runs have the same interval whenever they are compared
_KEY = 20_231


class PairedDifference(NamedTuple):
    """Hold the mean difference of two methods over the same clips, and the interval in which it lies.

    Attributes:
        value: first minus second, in the unit of the values.
        low: lower end of the interval.
        high: upper end of the interval.
        clips: how many clips were drawn from.
    """

    value: float
    low: float
    high: float
    clips: int


def spread(values: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds, with n - 1; None where there is one seed alone."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1))


def paired_difference(
    first: Sequence[RunScores], second: Sequence[RunScores], metric: str
) -> PairedDifference:
    """Return the difference of two methods, the mean over the seeds of each, with a bootstrap interval over clips.

    A draw takes as many clips as there are, each with all of its captions, with replacement; the interval holds the
    middle 95 % of 10,000 draws (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: percentile
    interval). It tells what other clips would give with these weights. Other seeds are told by :func:`spread`.

    Args:
        first: runs of one method, all with the same keys.
        second: runs of the other, with the same keys again.
        metric: a name in ``values``.
    """
    difference = _mean_over_seeds(first, metric) - _mean_over_seeds(second, metric)
    clip = first[0].clip
    sums = np.bincount(clip, weights=difference)
    sizes = np.bincount(clip).astype(np.float64)
    draws = _drawn_means(sums, sizes)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    value = float(difference.mean())
    return PairedDifference(value, float(low), float(high), len(sums))


def _mean_over_seeds(runs: Sequence[RunScores], metric: str) -> Values:
    return np.mean([run.values[metric] for run in runs], axis=0)


def _drawn_means(sums: Values, sizes: Values) -> Float64[np.ndarray, " draws"]:
    """Return the mean difference of each draw.

    Clips of one difference are as good as each other, and there are few differences. So what is drawn is how often
    each of them occurs, which a multinomial distribution says, and not each clip::

        sums    0  0  1  0 -1  1         ->  kinds  -1  0  1,  of 1 3 2 clips
        a draw  2 2 2 times these kinds  ->  mean (-2 + 2) / 6
    """
    # rounded: thirds of three seeds may differ in the last bit
    pairs = np.stack([sums.round(9), sizes], axis=1)
    kinds, counts = np.unique(pairs, axis=0, return_counts=True)
    random = np.random.Generator(np.random.Philox(key=_KEY))
    times = random.multinomial(len(sums), counts / len(sums), size=DRAWS)
    return (times @ kinds[:, 0]) / (times @ kinds[:, 1])


def pareto(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the indices of what nothing else beats at an equal or lower cost, cheapest first.

    >>> pareto([3.0, 1.0, 2.0, 2.0], [0.9, 0.5, 0.4, 0.8])
    [1, 3, 0]
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -values[i]))
    found: list[int] = []
    for index in order:
        if not found or values[index] > values[found[-1]]:
            found.append(index)
    return found
