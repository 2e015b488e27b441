"""Measure a classifier by sums and counts, so that ranks add up exactly.

What counts how, in every metric here:

- a video that could not be read is wrong, whatever the outputs for its black frames are, for any k of top-k;
- outputs that are no numbers (NaN or infinite) are wrong, and never class 0, which ``argmax`` makes of them.
"""

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, MetricCollection

from lightning_petl.shapes import Labels, Logits

Readable = Bool[Tensor, " b"]


class _Ratio(Metric):
    """Hold a sum and the count that it is divided by; both are added up over ranks.

    Args:
        total: the sum before the first update; its shape and type are those of the sum.
        count: the same of the count.
    """

    full_state_update = (
        False  # an update needs no state of before: one pass a batch
    )
    total: Tensor
    count: Tensor

    def __init__(self, total: Tensor, count: Tensor) -> None:
        super().__init__()
        self.add_state("total", total, dist_reduce_fx="sum")
        self.add_state("count", count, dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        return self.total / self.count


class TopAccuracy(_Ratio):
    """Measure the share of clips whose class is among the k most probable, 0 to 1.

    Args:
        k: how many classes are looked at, at most as many as there are.
    """

    higher_is_better = True

    def __init__(self, k: int) -> None:
        super().__init__(torch.tensor(0), torch.tensor(0))
        self.k = k

    def update(
        self, outputs: Logits, label: Labels, readable: Readable | None = None
    ) -> None:
        self.total += top_hits(outputs, label, self.k, readable).sum()
        self.count += len(label)


class MeanClassAccuracy(_Ratio):
    """Measure ``mean over classes c with n_c > 0 of correct_c / n_c``, 0 to 1.

    torchmetrics' macro average also counts a class that was predicted but never occurred, as zero; a class without
    clips has no accuracy.

    Args:
        classes: number of classes.
    """

    higher_is_better = True

    def __init__(self, classes: int) -> None:
        zeros = torch.zeros(classes, dtype=torch.long)
        super().__init__(zeros, zeros.clone())

    def update(
        self, outputs: Logits, label: Labels, readable: Readable | None = None
    ) -> None:
        right = outputs.argmax(-1) == label
        hit = label[right & _may_be_right(outputs, readable)]
        self.total += torch.bincount(hit, minlength=len(self.total))
        self.count += torch.bincount(label, minlength=len(self.count))

    def compute(self) -> Tensor:
        seen = self.count > 0
        return (self.total[seen] / self.count[seen]).mean()


class MeanLoss(_Ratio):
    """Measure the mean cross entropy of readable clips; of a clip, the mean over its views.

    It is infinite where an output is no number, so that fewer answers never look like a smaller loss, and NaN where
    no clip could be read.
    """

    higher_is_better = False

    def __init__(self) -> None:
        super().__init__(torch.tensor(0.0), torch.tensor(0))

    def update(
        self, logits: Float[Tensor, "b v k"], label: Labels, readable: Readable
    ) -> None:
        views = label[:, None].expand(logits.shape[:2])
        by_class = logits.float().movedim(-1, 1)
        loss = cross_entropy(by_class, views, reduction="none").mean(1)
        finite = logits.isfinite().all(-1).all(-1)
        self.total += loss.masked_fill(~finite, torch.inf)[readable].sum()
        self.count += readable.sum()


class FiniteShare(_Ratio):
    """Measure the share of readable clips whose outputs are numbers, 0 to 1; 1 where no clip could be read."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(torch.tensor(0), torch.tensor(0))

    def update(self, finite: Readable, readable: Readable) -> None:
        self.total += (finite & readable).sum()
        self.count += readable.sum()

    def compute(self) -> Tensor:
        return torch.where(self.count > 0, self.total / self.count, 1.0)


def accuracies(classes: int, prefix: str) -> MetricCollection:
    """Return top-1, top-5 (top-k where there are only k < 5 classes) and mean-class accuracy, 0 to 1.

    Args:
        classes: number of classes, at least 2.
        prefix: of the logged names, as in ``val/`` for ``val/top1``.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "top1": TopAccuracy(1),
        "top5": TopAccuracy(min(5, classes)),
        "mean_class": MeanClassAccuracy(classes),
    }
    # the three keep different numbers; torchmetrics would find out by the first batch
    # alone, in which top-1 and top-5 may be equal
    return MetricCollection(metrics, prefix=prefix, compute_groups=False)


def top_hits(
    outputs: Logits, label: Labels, k: int, readable: Readable | None = None
) -> Readable:
    """Return which clips are right: their class is among the k most probable.

    Args:
        outputs: class scores, or probabilities.
        label: class indices.
        k: how many classes are looked at, at most as many as there are.
        readable: which videos could be read; None: all.
    """
    hit = (_top(outputs, k) == label[:, None]).any(-1)
    return hit & _may_be_right(outputs, readable)


def _top(outputs: Logits, k: int) -> Int64[Tensor, "b top"]:
    # of equal scores argmax takes the first and topk any: top-1 must not depend on that
    return outputs.argmax(-1, keepdim=True) if k == 1 else outputs.topk(k).indices


def _may_be_right(outputs: Logits, readable: Readable | None) -> Readable:
    """Return which clips could be read and have outputs that are numbers."""
    finite = outputs.isfinite().all(-1)
    return finite if readable is None else finite & readable
