"""Hold what a classifier says of clips, and say which of it counts."""

from typing import NamedTuple, TypedDict

import torch
from einops import reduce
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from data_modules.batch import VideoBatch
from lightning_petl.losses.cross_entropy import ViewLogits
from lightning_petl.metrics.accuracy import FiniteShare
from lightning_petl.shapes import Labels, Logits

LEAST_LOGIT = -1e4
"""Logit of a class that is wrong for certain: its probability is 0 in float32, and it is a number in JSON."""


NO_NUMBER = "its outputs are no numbers"
"""Say what is wrong with a clip of which a logit or a similarity is NaN or infinite."""


class EvaluatedClips(NamedTuple):
    """Hold what a model says of the clips of an evaluation batch, without its padding.

    Attributes:
        clip_id: names of the clips.
        label: class indices.
        fault: why a video could not be read, empty where it could; the logits of such a clip mean nothing.
        logits: class scores of each view.
    """

    clip_id: list[str]
    label: Labels
    fault: list[str]
    logits: ViewLogits

    @classmethod
    def of(cls, batch: VideoBatch, logits: ViewLogits) -> "EvaluatedClips":
        """Take the rows of ``batch`` that are clips of the data set."""
        rows = _rows_of_data_set(batch)
        faults = batch.fault or [""] * len(batch.label)
        return cls(
            [batch.clip_id[row] for row in rows],
            batch.label[rows],
            [faults[row] for row in rows],
            logits[rows],
        )

    @property
    def readable(self) -> Bool[Tensor, " b"]:
        """Return which videos could be read."""
        readable = [not fault for fault in self.fault]
        # with its type, for a batch of padding alone is an empty list
        return torch.tensor(readable, dtype=torch.bool, device=self.logits.device)

    @property
    def finite(self) -> Bool[Tensor, " b"]:
        """Return which clips have finite logits alone."""
        return self.logits.isfinite().all(-1).all(-1)

    @property
    def without_numbers(self) -> list[str]:
        """Return the names of the readable clips of which a logit is NaN or infinite."""
        lost = (self.readable & ~self.finite).tolist()
        names = zip(self.clip_id, lost, strict=True)
        return [name for name, is_lost in names if is_lost]

    @property
    def probabilities(self) -> Logits:
        """Return class probabilities, averaged over views; NaN where a logit is no number."""
        mean = mean_probabilities(self.logits)
        # a softmax takes an infinite logit for certainty
        return mean.masked_fill(~self.finite[:, None], torch.nan)


class Scores(TypedDict):
    """Hold what a test step returns, for whoever writes it down; ``fault`` as in :class:`EvaluatedClips`."""

    clip_id: list[str]
    label: Labels
    logits: ViewLogits
    fault: list[str]


def scores_of(clips: EvaluatedClips) -> Scores:
    """Return what is written down of clips, so that a reader of the file counts what the metrics count.

    A clip whose outputs are no numbers has a fault that says so, because JSON has no such numbers.
    """
    faults: list[str] = []
    for fault, finite in zip(clips.fault, clips.finite.tolist(), strict=True):
        faults.append(fault if fault or finite else NO_NUMBER)
    told = clips._replace(fault=faults)
    return Scores(
        clip_id=told.clip_id,
        label=told.label,
        logits=unreadable_as_wrong(told.logits, told),
        fault=faults,
    )


class TopClasses(NamedTuple):
    """Hold the most probable classes of each clip, best first; of a clip with a fault they mean nothing."""

    clip_id: list[str]
    label: Int64[Tensor, "b top"]
    probability: Float[Tensor, "b top"]
    fault: list[str]


def mean_probabilities(logits: ViewLogits) -> Logits:
    """Return class probabilities, averaged over views."""
    return reduce(logits.softmax(-1), "b v k -> b k", "mean")


def is_silent(share: FiniteShare) -> bool:
    """Return whether no output of a validation was a number, on all ranks, and begin to count anew."""
    silent = bool(share.compute() == 0)
    share.reset()
    return silent


def unreadable_as_wrong(
    logits: ViewLogits, batch: VideoBatch | EvaluatedClips
) -> ViewLogits:
    """Return logits that are wrong where a video could not be read.

    There its own class is the least probable one, and all others are equal.
    """
    rows = [row for row, fault in enumerate(batch.fault) if fault]
    if not rows:
        return logits
    wrong = torch.zeros_like(logits[rows])
    wrong[torch.arange(len(rows)), :, batch.label[rows]] = LEAST_LOGIT
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), wrong)


def _rows_of_data_set(batch: VideoBatch) -> list[int]:
    rows = range(len(batch.label))
    if not batch.padding:
        return list(rows)
    return [row for row in rows if not batch.padding[row]]
