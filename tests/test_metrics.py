"""Accuracies against counting by hand in numpy."""

import numpy as np
import pytest
import torch

from lightning_petl.metrics import MeanClassAccuracy, accuracies


def numpy_accuracies(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    rank = (np.take_along_axis(logits, label[:, None], 1) < logits).sum(1)
    per_class = [np.mean(rank[label == c] == 0) for c in np.unique(label)]
    return {"x/top1": np.mean(rank < 1), "x/top5": np.mean(rank < 5), "x/mean_class": np.mean(per_class)}


@pytest.mark.parametrize("classes", [3, 5, 40])
def test_equal_counting_over_batches_of_unequal_size(classes: int) -> None:
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(61, classes)).astype(np.float32)
    label = generator.integers(0, classes, 61)
    metrics = accuracies(classes, "x/")
    for rows in np.split(np.arange(61), [7, 30]):
        metrics.update(torch.from_numpy(logits[rows]), torch.from_numpy(label[rows]))
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values == pytest.approx(numpy_accuracies(logits, label))


def test_a_class_without_clips_has_no_accuracy() -> None:
    metric = MeanClassAccuracy(3)
    metric.update(torch.eye(3)[[0, 2, 1]], torch.tensor([0, 0, 1]))  # class 2 is predicted once and never occurs
    assert metric.compute() == pytest.approx((1 / 2 + 1) / 2)


def test_ranks_add_up() -> None:
    logits, label = torch.randn(20, 7), torch.randint(0, 7, (20,))
    whole, left, right = (MeanClassAccuracy(7) for _ in range(3))
    whole.update(logits, label)
    left.update(logits[:3], label[:3])
    right.update(logits[3:], label[3:])
    for name in ("correct", "total"):
        assert torch.equal(getattr(left, name) + getattr(right, name), getattr(whole, name))
