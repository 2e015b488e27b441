"""Read what a test has written of each clip or caption, and count it as the metrics of the test do."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import numpy as np
import torch
from jaxtyping import Float64, Int64

from lightning_petl.callbacks.outputs.predictions import SCORES
from lightning_petl.callbacks.outputs.retrieval_scores import ANSWERS
from lightning_petl.metrics.accuracy import top_hits
from lightning_petl.metrics.retrieval import RECALLS, RankCounts
from lightning_petl.tasks.outputs import mean_probabilities

ScoreKey = tuple[str, str, int]
"""Name of the clip, label or caption, and how many equal lines came before."""

Values = Float64[np.ndarray, " n"]

# lines that become one tensor: large enough to be fast, small enough for any memory
_BATCH = 256


class RunScores(NamedTuple):
    """Hold what counts of the test of one run, a value a clip or a caption, sorted by :attr:`keys`.

    Attributes:
        keys: what each value is of.
        values: by the name of the metric: 1 where it is right, 0 where not; ``rank`` of a retrieval, from 1.
        clip: number of the clip of each value, from 0; captions of one video share it.
        labels: class index of each clip; of a caption, -1.
        classes: number of class scores; 0 of a retrieval.
        faults: how many clips or captions count as wrong because a video could not be read.
    """

    keys: tuple[ScoreKey, ...]
    values: Mapping[str, Values]
    clip: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    classes: int
    faults: int

    @property
    def is_retrieval(self) -> bool:
        """Return whether the values are of captions."""
        return self.classes == 0

    @property
    def main(self) -> str:
        """Return the metric that runs are ordered by."""
        return "R1" if self.is_retrieval else "top1"

    def metrics(self) -> dict[str, float]:
        """Return the numbers that the test logged, in its units: shares, recalls in percent, and ranks."""
        if self.is_retrieval:
            found = {
                f"R{k}": 100 * float(self.values[f"R{k}"].mean()) for k in RECALLS
            }
            ranks = self.values["rank"]
            return found | {
                "MdR": float(np.median(ranks)),
                "MnR": float(ranks.mean()),
            }
        return {
            "top1": float(self.values["top1"].mean()),
            "top5": float(self.values["top5"].mean()),
            "mean_class": float(np.mean(list(self.by_class().values()))),
        }

    def by_class(self) -> dict[int, float]:
        """Return top-1 by class, 0 to 1, of the classes that have clips."""
        right = np.bincount(self.labels, weights=self.values["top1"])
        clips = np.bincount(self.labels)
        found: dict[int, float] = {}
        for label in np.flatnonzero(clips).tolist():
            found[label] = float(right[label] / clips[label])
        return found


def scores_file(folder: Path) -> Path | None:
    """Return the file of scores in a folder, None where there is none."""
    for name in (SCORES, ANSWERS):
        if (folder / name).is_file():
            return folder / name
    return None


def read_scores(file: Path) -> RunScores:
    """Read a file of scores, line by line.

    Raises:
        ValueError: a line is not what a test writes, or there is none.
    """
    if file.name == ANSWERS:
        return _read_answers(file)
    return _read_logits(file)


def _read_logits(file: Path) -> RunScores:
    seen: list[tuple[str, int]] = []
    hits: dict[str, list[float]] = {"top1": [], "top5": []}
    classes = 0
    faults = 0
    for rows in _batches(file):
        label, logits, readable = _as_tensors(file, rows, classes)
        classes = logits.shape[-1]
        # as in a test, so that rounding is the same
        outputs = mean_probabilities(logits)
        for name, k in (("top1", 1), ("top5", min(5, classes))):
            right = top_hits(outputs, label, k, readable)
            hits[name] += right.double().tolist()
        faults += int((~readable).sum())
        for row, number in zip(rows, label.tolist(), strict=True):
            seen.append((str(row["clip_id"]), number))
    pairs = [(clip, str(number)) for clip, number in seen]
    return _sorted(pairs, hits, [number for _, number in seen], classes, faults)


def _as_tensors(
    file: Path, rows: Sequence[Mapping[str, Any]], classes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return labels, logits ``"b v k"``, and which videos could be read.

    Raises:
        ValueError: the rows have no equal numbers of views and classes, or a label is no class.
    """
    try:
        # in float32, as the test has it
        logits = torch.tensor([row["logits"] for row in rows], dtype=torch.float32)
        label = torch.tensor([row["label"] for row in rows])
        readable = torch.tensor(["fault" not in row for row in rows])
        known = all("clip_id" in row for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise _no_scores(file, str(error)) from None
    if logits.ndim != 3 or not known or label.dtype != torch.int64:
        raise _no_scores(file, "a line has no clip_id, label or logits of views")
    if classes not in (0, logits.shape[-1]):
        raise _no_scores(file, "its lines have different numbers of classes")
    if bool((label < 0).any() or (label >= logits.shape[-1]).any()):
        raise _no_scores(file, "a label is none of the classes")
    return label, logits, readable


def _read_answers(file: Path) -> RunScores:
    pairs: list[tuple[str, str]] = []
    ranks: list[float] = []
    tied: list[float] = []
    found: list[bool] = []
    for rows in _batches(file):
        for row in rows:
            try:
                pairs.append((str(row["video"]), str(row["query"])))
                ranks.append(float(row["rank"]))
                # earlier releases did not say it; a rank between two numbers tells
                tied.append(float(row.get("tied", 0)))
            except (KeyError, TypeError, ValueError) as error:
                raise _no_scores(file, str(error)) from None
            found.append("fault" not in row)
    values = {"rank": ranks}
    counts = _counts(ranks, tied, found)
    for k in RECALLS:
        values[f"R{k}"] = counts.recall(k).tolist()
    return _sorted(pairs, values, [-1] * len(pairs), 0, found.count(False))


def _counts(
    ranks: Sequence[float], tied: Sequence[float], found: Sequence[bool]
) -> RankCounts:
    rank = torch.tensor(ranks, dtype=torch.float64)
    wrong = torch.tensor(tied, dtype=torch.float64)
    # a video that could not be read is last, and among no first k
    better = torch.where(torch.tensor(found), rank - 1 - wrong / 2, torch.inf)
    # only their order counts here, and no rank is beyond the last one
    return RankCounts(better, wrong, torch.ones_like(rank), len(ranks))


def _batches(file: Path) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the lines of a file, some at a time.

    Raises:
        ValueError: a line is no JSON object, or there is no line.
    """
    rows: list[Mapping[str, Any]] = []
    number = 0
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _no_scores(file, f"line {number}: {error}") from None
            if not isinstance(row, dict):
                raise _no_scores(file, f"line {number} is no object")
            rows.append(cast(dict[str, Any], row))
            if len(rows) == _BATCH:
                yield rows
                rows = []
    if rows:
        yield rows
    if not number:
        raise _no_scores(file, "it is empty")


def _sorted(
    pairs: Sequence[tuple[str, str]],
    values: Mapping[str, Sequence[float]],
    labels: Sequence[int],
    classes: int,
    faults: int,
) -> RunScores:
    """Sort by clip, so that the values of two runs stand side by side whatever ranks wrote them."""
    before: dict[tuple[str, str], int] = {}
    keys: list[ScoreKey] = []
    for pair in pairs:
        # a list may hold a clip twice, and a video the same sentence
        before[pair] = before.get(pair, 0) + 1
        keys.append((*pair, before[pair] - 1))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    arrays: dict[str, Values] = {}
    for name, column in values.items():
        arrays[name] = np.array(column, dtype=np.float64)[order]
    in_order = tuple(keys[index] for index in order)
    return RunScores(
        in_order,
        arrays,
        _clip_numbers(in_order),
        np.array(labels, dtype=np.int64)[order],
        classes,
        faults,
    )


def _clip_numbers(keys: Sequence[ScoreKey]) -> Int64[np.ndarray, " n"]:
    """Return the number of the clip of each key, in the order of the keys."""
    numbers: dict[str, int] = {}
    found: list[int] = []
    for name, _, _ in keys:
        found.append(numbers.setdefault(name, len(numbers)))
    return np.array(found, dtype=np.int64)


def _no_scores(file: Path, why: str) -> ValueError:
    return ValueError(
        f"{file}: is damaged, or not what `lightning-petl test` writes ({why}); test the run again"
    )
