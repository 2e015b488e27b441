"""Writes what test and predict found, each clip once under any number of ranks."""

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import cell, to_csv, to_json, visible
from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.distributed.collectives import gather_objects
from lightning_petl.runs.folder import run_folder
from lightning_petl.tasks.classification import Scores, TopClasses, VideoClassifier

SCORES = "test_scores.jsonl"


class TestScores(Callback):
    """``test_scores.jsonl`` in the run folder: clip id, label and the logits of each view, a line a clip.

    The line of a video that could not be read has ``fault``, which says why; its logits are not those of the model but
    such that every class is more probable than its own.
    """

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
        columns = (
            scores["clip_id"],
            scores["label"].tolist(),
            scores["logits"].float().tolist(),
            scores["fault"],
        )
        for clip_id, label, logits, fault in zip(*columns, strict=True):
            row = {"clip_id": clip_id, "label": label, "logits": logits}
            self._rows.append(row | ({"fault": fault} if fault else {}))

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = _gather(self._rows)
        if rows and trainer.is_global_zero:
            lines = b"".join(to_json(row, allow_nan=False) + b"\n" for row in rows)
            write_whole(run_folder(trainer) / SCORES, lines)


class TopClassTable(Callback):
    """Prints the most probable classes of each predicted video and writes ``predictions.csv`` in the run folder.

    A video that cannot be read has one row without a class, whose ``fault`` says why, and is told at the end.

    Attributes:
        faults: why a video of the last prediction could not be read, by name; of all ranks.
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self.faults: dict[str, str] = {}

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
        columns = (top.clip_id, top.label.tolist(), top.probability.tolist(), top.fault)
        for clip, indices, values, fault in zip(*columns, strict=True):
            if fault:
                self._rows.append(
                    {
                        "clip_id": clip,
                        "rank": "",
                        "label": "",
                        "probability": "",
                        "fault": fault,
                    }
                )
                continue
            for rank, (index, value) in enumerate(
                zip(indices, values, strict=True), start=1
            ):
                row = {
                    "clip_id": clip,
                    "rank": rank,
                    "label": labels[index],
                    "probability": round(value, 6),
                }
                self._rows.append(row | {"fault": ""})

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = _gather(self._rows)
        self.faults = {row["clip_id"]: row["fault"] for row in rows if row["fault"]}
        if trainer.is_global_zero:
            path = run_folder(trainer) / "predictions.csv"
            write_whole(path, _csv(rows))
            show(_table(rows))
            print(f"written to {visible(str(path))}", flush=True)


def _gather(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all ranks, rank by rank."""
    return [row for rank in gather_objects(rows) for row in rank]


def _csv(rows: list[dict[str, Any]]) -> bytes:
    columns = ["clip_id", "rank", "label", "probability", "fault"]
    return to_csv(
        [columns, *([row.get(column, "") for column in columns] for row in rows)]
    )


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("video", "class", "probability")
    for row in rows:
        if row["fault"]:
            table.add_row(cell(row["clip_id"]), "cannot be read", "")
            continue
        first = row["rank"] == 1
        table.add_row(
            cell(row["clip_id"] if first else ""),
            cell(row["label"]),
            f"{row['probability']:.1%}",
        )
    return table
