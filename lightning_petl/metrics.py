"""Accuracies of a classifier as counts, so that ranks add up exactly."""

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lightning_petl.shapes import Labels, Logits


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
        self.add_state("correct", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Logits, label: Labels) -> None:
        hit = label[logits.argmax(-1) == label]
        self.correct += torch.bincount(hit, minlength=len(self.correct))
        self.total += torch.bincount(label, minlength=len(self.total))

    def compute(self) -> Tensor:
        seen = self.total > 0
        return (self.correct[seen] / self.total[seen]).mean()


def accuracies(classes: int, prefix: str) -> MetricCollection:
    """Top-1, top-5 (top-k where there are only k < 5 classes) and mean-class accuracy, 0 to 1.

    Args:
        classes: number of classes, at least 2.
        prefix: of the logged names, as in ``val/`` for ``val/top1``.
    """
    return MetricCollection(
        {
            "top1": MulticlassAccuracy(classes, top_k=1, average="micro"),
            "top5": MulticlassAccuracy(classes, top_k=min(5, classes), average="micro"),
            "mean_class": MeanClassAccuracy(classes),
        },
        prefix=prefix,
        compute_groups=False,  # the three keep different counts
    )
