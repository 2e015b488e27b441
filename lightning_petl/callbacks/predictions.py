"""Writes what test and predict found, each clip once under any number of ranks."""

import csv
import io
import json
from pathlib import Path
from typing import Any, cast

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from lightning_petl.checkpoint import write_whole
from lightning_petl.tasks.classification import Scores, TopClasses, VideoClassifier


class TestScores(Callback):
    """``test_scores.jsonl`` in the run folder: clip id, label and the logits of each view, a line a clip."""

    __test__ = False  # pytest takes names with Test for tests

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = []

    @override
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs is None:  # of a bank, whose members each have others
            return
        scores = cast(Scores, outputs)
        columns = (scores["clip_id"], scores["label"].tolist(), scores["logits"].float().tolist())
        self._rows += [{"clip_id": c, "label": n, "logits": v} for c, n, v in zip(*columns, strict=True)]

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = _gather(self._rows)
        if rows and trainer.is_global_zero:
            lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            write_whole(run_folder(trainer) / "test_scores.jsonl", lines.encode())


class TopClassTable(Callback):
    """Prints the most probable classes of each predicted video and writes ``predictions.csv`` in the run folder."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows = []

    @override
    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        top, labels = cast(TopClasses, outputs), cast(VideoClassifier, pl_module).labels
        for clip, indices, values in zip(top.clip_id, top.label.tolist(), top.probability.tolist(), strict=True):
            for rank, (index, value) in enumerate(zip(indices, values, strict=True), start=1):
                row = {"clip_id": clip, "rank": rank, "label": labels[index], "probability": round(value, 6)}
                self._rows.append(row)

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = _gather(self._rows)
        if trainer.is_global_zero:
            path = run_folder(trainer) / "predictions.csv"
            write_whole(path, _csv(rows).encode())
            Console().print(_table(rows), f"written to {path}")


def run_folder(trainer: Trainer) -> Path:
    """The folder of this run; right on rank zero, which writes.

    ``Trainer.log_dir`` waits for all ranks: to ask for it on one of them hangs the run.
    """
    folder = trainer.logger.log_dir if trainer.logger else None
    return Path(folder or trainer.default_root_dir)


def _gather(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all ranks, rank by rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, rows)
    return [row for rank in ranks for row in rank]


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=["clip_id", "rank", "label", "probability"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("video", "class", "probability")
    for row in rows:
        first = row["rank"] == 1
        table.add_row(row["clip_id"] if first else "", row["label"], f"{row['probability']:.1%}")
    return table
