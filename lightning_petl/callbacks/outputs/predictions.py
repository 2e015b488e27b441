"""Write what test and predict found, each clip once under any number of ranks."""

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import cell, to_csv, to_json, visible
from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.distributed.collectives import gather_objects
from lightning_petl.runs.folder import run_folder
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.outputs import Scores, TopClasses

SCORES = "test_scores.jsonl"
COLUMNS = ("clip_id", "rank", "label", "probability", "fault")

# by the name of its column
PredictionRow = dict[str, Any]


class TestScores(Callback):
    """Write ``test_scores.jsonl`` in the run folder: clip id, label and the logits of each view, a line a clip.

    The line of a video that could not be read has ``fault``, which says why. Its logits are not those of
    the model, but such that every other class is more probable than its own.
    """

    # pytest would collect a class whose name begins with Test
    __test__ = False

    def __init__(self) -> None:
        self._rows: list[PredictionRow] = []

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
        # a bank returns none, because each of its members has scores of its own
        if outputs is None:
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
            if fault:
                row["fault"] = fault
            self._rows.append(row)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = _rows_of_all_ranks(self._rows)
        if rows and trainer.is_global_zero:
            lines = b"".join(to_json(row, allow_nan=False) + b"\n" for row in rows)
            write_whole(run_folder(trainer) / SCORES, lines)


class TopClassTable(Callback):
    """Print the most probable classes of each predicted video, and write ``predictions.csv`` in the run folder.

    A video that cannot be read has one row without a class, whose ``fault`` says why.

    Attributes:
        faults: why a video of the last prediction could not be read, by its name; of all ranks.
    """

    def __init__(self) -> None:
        self._rows: list[PredictionRow] = []
        self.faults: dict[str, str] = {}

    @override
    def on_predict_start(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
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
        top = cast(TopClasses, outputs)
        labels = cast(VideoClassifier, pl_module).labels
        columns = (
            top.clip_id,
            top.label.tolist(),
            top.probability.tolist(),
            top.fault,
        )
        for clip, indices, values, fault in zip(*columns, strict=True):
            if fault:
                self._rows.append(_row(clip, "", "", "", fault))
                continue
            found = zip(indices, values, strict=True)
            for rank, (index, value) in enumerate(found, start=1):
                self._rows.append(
                    _row(clip, rank, labels[index], round(value, 6), "")
                )

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows = _rows_of_all_ranks(self._rows)
        self.faults = {row["clip_id"]: row["fault"] for row in rows if row["fault"]}
        if trainer.is_global_zero:
            path = run_folder(trainer) / "predictions.csv"
            write_whole(path, _csv(rows))
            show(_table(rows))
            print(f"written to {visible(str(path))}", flush=True)


def _row(
    clip: str, rank: Any, label: str, probability: Any, fault: str
) -> PredictionRow:
    return {
        "clip_id": clip,
        "rank": rank,
        "label": label,
        "probability": probability,
        "fault": fault,
    }


def _rows_of_all_ranks(rows: list[PredictionRow]) -> list[PredictionRow]:
    """Return the rows of all ranks, rank by rank. All ranks must call it."""
    return [row for rank in gather_objects(rows) for row in rank]


def _csv(rows: list[PredictionRow]) -> bytes:
    return to_csv([COLUMNS, *(row.values() for row in rows)])


def _table(rows: list[PredictionRow]) -> Table:
    table = Table("video", "class", "probability")
    for row in rows:
        if row["fault"]:
            table.add_row(cell(row["clip_id"]), "cannot be read", "")
            continue
        # the name of a video stands before the first of its classes only
        video = cell(row["clip_id"]) if row["rank"] == 1 else ""
        table.add_row(video, cell(row["label"]), f"{row['probability']:.1%}")
    return table
