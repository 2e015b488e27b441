"""Scores that are read from files count as the metrics of a test do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from lightning_petl.callbacks.outputs.predictions import SCORES
from lightning_petl.callbacks.outputs.retrieval_scores import ANSWERS, _line
from lightning_petl.compare.scores import read_scores
from lightning_petl.metrics.retrieval import retrieval_metrics
from lightning_petl.tasks.outputs import EvaluatedClips, scores_of
from lightning_petl.tasks.retrieval.gallery import Gallery

CLASSES = 7


def written(folder: Path, rows: list[dict[str, Any]], name: str = SCORES) -> Path:
    lines = [json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def clips(count: int) -> list[dict[str, Any]]:
    """Lines of a test with three views; more than one batch of lines where there are many."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 3, CLASSES, generator=generator)
    labels = torch.randint(0, CLASSES - 1, (count,), generator=generator)
    rows = []
    for number in range(count):
        rows.append(
            {
                "clip_id": f"{count - number:04}",
                "label": int(labels[number]),
                "logits": logits[number].tolist(),
            }
        )
    return rows


def test_accuracies_are_those_of_torchmetrics(tmp_path: Path) -> None:
    rows = clips(600)
    probabilities = (
        torch.tensor([row["logits"] for row in rows]).softmax(-1).mean(1)
    )
    labels = torch.tensor([row["label"] for row in rows])
    found = read_scores(written(tmp_path, rows)).metrics()
    for name, k in (("top1", 1), ("top5", 5)):
        expected = multiclass_accuracy(
            probabilities, labels, CLASSES, top_k=k, average="micro"
        )
        assert found[name] == pytest.approx(float(expected))
    # without the class that has no clips, which torchmetrics would count as zero
    by_class = multiclass_accuracy(probabilities, labels, CLASSES, average=None)
    assert found["mean_class"] == pytest.approx(float(by_class[:-1].mean()))


def test_the_order_of_the_lines_says_nothing(tmp_path: Path) -> None:
    """Each number of ranks writes another order."""
    rows = clips(20)
    one = read_scores(written(tmp_path, rows))
    other = read_scores(written(tmp_path, rows[::-1]))
    assert one.keys == other.keys
    assert (one.values["top1"] == other.values["top1"]).all()
    assert (one.labels == other.labels).all()


def test_a_clip_that_a_list_has_twice_stays_two(tmp_path: Path) -> None:
    rows = clips(3)
    found = read_scores(written(tmp_path, [*rows, rows[0]]))
    assert len(set(found.keys)) == 4


def test_a_video_without_result_is_wrong(tmp_path: Path) -> None:
    """Also where its logits say the right class, and for any k."""
    row = {"clip_id": "a", "label": 1, "logits": [[0.0, 9.0, 0.0]], "fault": "gone"}
    found = read_scores(written(tmp_path, [row]))
    assert found.metrics() == {"top1": 0, "top5": 0, "mean_class": 0}
    assert found.faults == 1


def test_outputs_that_are_no_numbers_are_told_and_wrong(tmp_path: Path) -> None:
    """As of the member of a bank that has diverged: JSON has no NaN."""
    logits = torch.tensor(
        [[[0.0, 1.0]], [[float("nan"), 1.0]], [[float("inf"), 0.0]]]
    )
    clips = EvaluatedClips(
        ["a", "b", "c"], torch.tensor([1, 1, 0]), [""] * 3, logits
    )
    told = scores_of(clips)
    assert told["logits"].isfinite().all()
    assert [bool(fault) for fault in told["fault"]] == [False, True, True]
    assert (told["logits"].mean(1).argmax(-1) == told["label"]).tolist() == [True, False, False]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[1]", '{"clip_id": "a", "label": 0}', '{"clip_id": "a", "label": 2, "logits": [[1, 2]]}',
        '{"clip_id": "a", "label": 0.5, "logits": [[1, 2]]}', '{"label": 0, "logits": [[1, 2]]}',
        '{"clip_id": "a", "label": 0, "logits": [1, 2]}', '{"clip_id": "a", "label": 0, "logits": "x"}',
        '{"clip_id": "a", "label": 0, "logits": [[1, 2]]}\n{"clip_id": "b", "label": 0, "logits": [[1, 2, 3]]}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / SCORES).write_text(text)
    with pytest.raises(ValueError, match="test the run again"):
        read_scores(tmp_path / SCORES)


def test_a_damaged_answer_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, [{"query": "a"}], ANSWERS)
    with pytest.raises(ValueError, match="test the run again"):
        read_scores(file)


def test_recalls_are_those_of_the_metric_also_where_videos_are_tied(
    tmp_path: Path,
) -> None:
    """Few different similarities give many ties, and a video that could not be read is never found."""
    random = np.random.default_rng(0)
    matrix = torch.tensor(random.integers(0, 6, (60, 30)) / 8.0)
    owner = torch.arange(60) // 2
    matrix[:, 4] = -torch.inf

    def block(rows: range, columns: range) -> torch.Tensor:
        return matrix[rows.start : rows.stop, columns.start : columns.stop]

    names = [f"{number:02}" for number in range(30)]
    captions = [f"caption {number}" for number in range(60)]
    gallery = Gallery(
        names, torch.ones(30, dtype=torch.bool), (), captions, (), owner,
        {"04": "cannot be read"},
    )  # fmt: skip
    lines = b"".join(_line(answer) + b"\n" for answer in gallery.results(block))
    (tmp_path / ANSWERS).write_bytes(lines)
    found = read_scores(tmp_path / ANSWERS)
    expected = retrieval_metrics(block, owner, 30)
    for name, value in found.metrics().items():
        assert value == pytest.approx(expected[f"t2v/{name}"]), name
    assert found.faults == 2
