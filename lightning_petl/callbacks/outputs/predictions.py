"""Write what test and predict found, each clip once under any number of ranks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import cell, to_csv, to_json, visible
from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.distributed.collectives import (
    gather_objects,
    gather_objects_on_first,
)
from lightning_petl.runs.folder import run_folder
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.outputs import Scores, TopClasses

SCORES = "test_scores.jsonl"
MEMBERS = "members"
COLUMNS = ("clip_id", "rank", "label", "probability", "fault")

# by the name of its column
PredictionRow = dict[str, Any]


class TestScores(Callback):
    """Write ``test_scores.jsonl`` in the run folder: clip id, label and the logits of each view, a line a clip.

    Of a bank each member has a file of its own, ``members/<name>/test_scores.jsonl``.

    The line of a video that could not be read has ``fault``, which says why. Its logits are not those of
    the model, but such that every other class is more probable than its own.
    """

    # pytest would collect a class whose name begins with Test
    __test__ = False

    def __init__(self) -> None:
        # batches by name of the member, in main memory; a classifier has one, without a name
        self._seen: dict[str, list[Scores]] = {}

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = {}

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
        # a retrieval returns none: it ranks whole galleries
        if outputs is None:
            return
        is_bank = isinstance(pl_module, Bank)
        of_members = outputs if is_bank else {"": outputs}
        for name, scores in cast(dict[str, Scores], of_members).items():
            self._seen.setdefault(name, []).append(_in_main_memory(scores))

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_folder(trainer)
        # in the same order on all ranks, also on one that has seen no clip; one
        # member at a time, because all of a bank may not fit in the memory of rank 0
        for name in tested_names(pl_module):
            lines: list[bytes] = []
            for rank in gather_objects_on_first(self._seen.pop(name, [])):
                lines += _lines(rank)
            if lines:
                write_whole(scores_folder(folder, name) / SCORES, b"".join(lines))


def tested_names(model: LightningModule) -> list[str]:
    """Return the members of a bank, or one empty name."""
    return list(model.members) if isinstance(model, Bank) else [""]


def scores_folder(folder: Path, member: str) -> Path:
    """Return where the scores of a member lie; those of what is no bank lie in the run folder itself."""
    return folder / MEMBERS / member if member else folder


def _in_main_memory(scores: Scores) -> Scores:
    return Scores(
        clip_id=scores["clip_id"],
        label=scores["label"].cpu(),
        logits=scores["logits"].float().cpu(),
        fault=scores["fault"],
    )


def _lines(batches: list[Scores]) -> Iterator[bytes]:
    for scores in batches:
        columns = (
            scores["clip_id"],
            scores["label"].tolist(),
            scores["logits"].tolist(),
            scores["fault"],
        )
        for clip_id, label, logits, fault in zip(*columns, strict=True):
            row = {"clip_id": clip_id, "label": label, "logits": logits}
            if fault:
                row["fault"] = fault
            yield to_json(row, allow_nan=False) + b"\n"


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
