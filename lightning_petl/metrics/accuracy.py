"""Accuracies and the loss of a classifier as sums and counts, so that ranks add up exactly.

What counts how, in every metric here:

- a video that could not be read is wrong, whatever the outputs for its black frames are, for any k of top-k;
- outputs that are no numbers (NaN or infinite) are wrong, and never class 0, which ``argmax`` makes of them.
"""

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, MetricCollection

from lightning_petl.shapes import Labels, Logits

Readable = Bool[Tensor, " b"]


class TopAccuracy(Metric):
    """The share of clips whose class is among the k most probable.

    Args:
        k: how many classes are looked at, at most as many as there are.
    """

    full_state_update = False
    higher_is_better = True
    right: Tensor
    clips: Tensor

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("clips", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, outputs: Logits, label: Labels, readable: Readable | None = None
    ) -> None:
        best = (
            outputs.argmax(-1, keepdim=True)
            if self.k == 1
            else outputs.topk(self.k).indices
        )
        hit = (best == label[:, None]).any(-1)
        self.right += (hit & _counts(outputs, readable)).sum()
        self.clips += len(label)

    def compute(self) -> Tensor:
        return self.right / self.clips


class MeanClassAccuracy(Metric):
    """``mean over classes c with n_c > 0 of correct_c / n_c``.

    torchmetrics' macro average also counts a class that was predicted but never occurred, as zero; a class without
    clips has no accuracy.
    """

    full_state_update = False
    higher_is_better = True
    correct: Tensor
    total: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state(
            "correct", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum"
        )
        self.add_state(
            "total", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum"
        )

    def update(
        self, outputs: Logits, label: Labels, readable: Readable | None = None
    ) -> None:
        hit = label[(outputs.argmax(-1) == label) & _counts(outputs, readable)]
        self.correct += torch.bincount(hit, minlength=len(self.correct))
        self.total += torch.bincount(label, minlength=len(self.total))

    def compute(self) -> Tensor:
        seen = self.total > 0
        return (self.correct[seen] / self.total[seen]).mean()


class MeanLoss(Metric):
    """The mean cross entropy of readable clips; of a clip, the mean over its views.

    It is infinite where an output is no number, so that fewer answers never look like a smaller loss, and NaN where
    no clip could be read.
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    clips: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("clips", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, logits: Float[Tensor, "b v k"], label: Labels, readable: Readable
    ) -> None:
        views = label[:, None].expand(logits.shape[:2])
        loss = cross_entropy(
            logits.float().movedim(-1, 1), views, reduction="none"
        ).mean(1)
        numbers = logits.isfinite().all(-1).all(-1)
        self.total += loss.masked_fill(~numbers, torch.inf)[readable].sum()
        self.clips += readable.sum()

    def compute(self) -> Tensor:
        return self.total / self.clips


class Answered(Metric):
    """The share of readable clips whose outputs are numbers; 1 where no clip could be read."""

    full_state_update = False
    higher_is_better = True
    numbers: Tensor
    readable: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("numbers", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("readable", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, numbers: Readable, readable: Readable) -> None:
        self.numbers += (numbers & readable).sum()
        self.readable += readable.sum()

    def compute(self) -> Tensor:
        return torch.where(self.readable > 0, self.numbers / self.readable, 1.0)


def accuracies(classes: int, prefix: str) -> MetricCollection:
    """Top-1, top-5 (top-k where there are only k < 5 classes) and mean-class accuracy, 0 to 1.

    Args:
        classes: number of classes, at least 2.
        prefix: of the logged names, as in ``val/`` for ``val/top1``.
    """
    return MetricCollection(
        {
            "top1": TopAccuracy(1),
            "top5": TopAccuracy(min(5, classes)),
            "mean_class": MeanClassAccuracy(classes),
        },
        prefix=prefix,
        compute_groups=False,  # the three keep different counts
    )


def _counts(outputs: Logits, readable: Readable | None) -> Readable:
    """Return which clips may be right: those that could be read and whose outputs are numbers."""
    numbers = outputs.isfinite().all(-1)
    return numbers if readable is None else numbers & readable
