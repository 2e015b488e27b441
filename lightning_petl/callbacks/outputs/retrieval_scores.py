"""What each caption of a test found."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import to_json, visible
from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.runs.folder import run_folder
from lightning_petl.tasks.retrieval.gallery import Answer
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval

COLUMNS = ("R1", "R5", "R10", "MdR", "MnR")


class RetrievalScores(Callback):
    """``retrieval.jsonl`` in the run folder, a line a caption, and a table of the metrics.

    A line holds the caption as ``query``, its ``video``, the ``rank`` of that video (the mean over the order of equal
    ones) and the ``best`` five videos with their similarities. Where the video could not be read, ``fault`` says why;
    its rank is the last one.
    """

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, VideoTextRetrieval) and trainer.is_global_zero:
            path = run_folder(trainer) / "retrieval.jsonl"
            write_whole(
                path, b"".join(_line(answer) + b"\n" for answer in pl_module.answers)
            )
            show(_table(trainer.callback_metrics))
            print(f"written to {visible(str(path))}", flush=True)


def _line(answer: Answer) -> bytes:
    best = [
        {"video": video, "similarity": round(value, 6)} for video, value in answer.best
    ]
    row = answer._asdict() | {"best": best}
    if not answer.fault:
        del row["fault"]
    return to_json(row, allow_nan=False)


def _table(metrics: dict[str, Any]) -> Table:
    table = Table("protocol", *COLUMNS)
    for name in dict.fromkeys(key.rpartition("/")[0] for key in metrics):
        values = [metrics.get(f"{name}/{column}") for column in COLUMNS]
        if None not in values:
            table.add_row(
                name.removeprefix("test/"),
                *(f"{float(value):.1f}" for value in values if value is not None),
            )
    return table
