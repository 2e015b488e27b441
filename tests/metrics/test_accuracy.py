"""Accuracies against counting by hand in numpy."""

import numpy as np
import pytest
import torch

from lightning_petl.metrics.accuracy import (
    FiniteShare,
    MeanClassAccuracy,
    MeanLoss,
    accuracies,
)


def numpy_accuracies(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    rank = (np.take_along_axis(logits, label[:, None], 1) < logits).sum(1)
    per_class = [np.mean(rank[label == c] == 0) for c in np.unique(label)]
    return {
        "x/top1": np.mean(rank < 1),
        "x/top5": np.mean(rank < 5),
        "x/mean_class": np.mean(per_class),
    }


@pytest.mark.parametrize("classes", [3, 5, 40])
def test_equal_counting_over_batches_of_unequal_size(classes: int) -> None:
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(61, classes)).astype(np.float32)
    label = generator.integers(0, classes, 61)
    metrics = accuracies(classes, "x/")
    for rows in np.split(np.arange(61), [7, 30]):
        metrics.update(
            torch.from_numpy(logits[rows]), torch.from_numpy(label[rows])
        )
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values == pytest.approx(numpy_accuracies(logits, label))


def test_a_class_without_clips_has_no_accuracy() -> None:
    metric = MeanClassAccuracy(3)
    metric.update(
        torch.eye(3)[[0, 2, 1]], torch.tensor([0, 0, 1])
    )  # class 2 is predicted once and never occurs
    assert metric.compute() == pytest.approx((1 / 2 + 1) / 2)


def test_ranks_add_up() -> None:
    logits, label = torch.randn(20, 7), torch.randint(0, 7, (20,))
    whole, left, right = (MeanClassAccuracy(7) for _ in range(3))
    whole.update(logits, label)
    left.update(logits[:3], label[:3])
    right.update(logits[3:], label[3:])
    for name in ("total", "count"):
        assert torch.equal(
            getattr(left, name) + getattr(right, name), getattr(whole, name)
        )


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("classes", [2, 3, 5, 7])
@pytest.mark.parametrize("bad", ["unreadable", "nan", "inf"])
def test_a_clip_without_an_answer_is_wrong_for_any_k(
    classes: int, bad: str
) -> None:
    """Three clips of class 0, which argmax makes of NaN; the first has the right answer, the others none."""
    outputs = torch.zeros(3, classes)
    outputs[:, 0] = 1.0
    outputs[1:, -1] = {"unreadable": 0.0, "nan": NAN, "inf": INF}[bad]
    readable = torch.tensor([True, bad != "unreadable", bad != "unreadable"])
    metrics = accuracies(classes, "x/")
    metrics.update(outputs, torch.zeros(3).long(), readable)
    assert {
        name: value.item() for name, value in metrics.compute().items()
    } == pytest.approx({"x/top1": 1 / 3, "x/top5": 1 / 3, "x/mean_class": 1 / 3})


def test_the_loss_is_the_mean_over_readable_clips_of_all_batches() -> None:
    """-log softmax of (0, log 3) is log 4 for class 0 and log 4/3 for class 1; a view counts half of its clip."""
    logits = torch.tensor(
        [
            [[0.0, 0.0], [0.0, np.log(3)]],
            [[5.0, 0.0], [0.0, 5.0]],
            [[0.0, np.log(3)], [0.0, np.log(3)]],
        ]
    )
    loss = MeanLoss()
    loss.update(logits[:2], torch.tensor([0, 1]), torch.tensor([True, False]))
    loss.update(logits[2:], torch.tensor([1]), torch.tensor([True]))
    loss.update(
        logits[:0],
        torch.tensor([], dtype=torch.long),
        torch.tensor([], dtype=torch.bool),
    )
    assert loss.compute().item() == pytest.approx(
        ((np.log(2) + np.log(4)) / 2 + np.log(4 / 3)) / 2
    )


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_outputs_that_are_no_numbers_never_make_the_loss_smaller(
    bad: float,
) -> None:
    loss = MeanLoss()
    loss.update(
        torch.tensor([[[0.0, 9.0]], [[bad, 9.0]]]),
        torch.tensor([1, 1]),
        torch.tensor([True, True]),
    )
    assert loss.compute() == INF


@pytest.mark.parametrize(
    ("numbers", "readable", "share"),
    [
        ([True, False], [True, True], 0.5),
        ([False, False], [True, False], 0),
        ([False], [False], 1),
        ([], [], 1),
    ],
)
def test_answered_counts_readable_clips_alone(
    numbers: list[bool], readable: list[bool], share: float
) -> None:
    share_of_numbers = FiniteShare()
    share_of_numbers.update(
        torch.tensor(numbers, dtype=torch.bool),
        torch.tensor(readable, dtype=torch.bool),
    )
    assert share_of_numbers.compute() == share
