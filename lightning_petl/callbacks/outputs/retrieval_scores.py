"""Write what each caption of a test found."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import to_json, visible
from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.runs.folder import run_folder
from lightning_petl.tasks.retrieval.gallery import CaptionResult
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval

ANSWERS = "retrieval.jsonl"
COLUMNS = ("R1", "R5", "R10", "MdR", "MnR")


class RetrievalScores(Callback):
    """Write ``retrieval.jsonl`` in the run folder, a line a caption, and print a table of the metrics.

    A line holds the caption as ``query``, its ``video``, the ``rank`` of that video (the mean over the
    order of equal ones), how many others are ``tied`` with it, where any is, and the ``best`` five videos
    with their similarities. Where the video could not be read, ``fault`` says why; its rank is the last one.
    """

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (
            not isinstance(pl_module, VideoTextRetrieval)
            or not trainer.is_global_zero
        ):
            return
        path = run_folder(trainer) / ANSWERS
        lines = b"".join(_line(answer) + b"\n" for answer in pl_module.results)
        write_whole(path, lines)
        show(_table(trainer.callback_metrics))
        print(f"written to {visible(str(path))}", flush=True)


def _line(answer: CaptionResult) -> bytes:
    best: list[dict[str, Any]] = []
    for video, similarity in answer.best:
        best.append({"video": video, "similarity": round(similarity, 6)})
    row = answer._asdict() | {"best": best}
    for name in ("fault", "tied"):
        if not row[name]:
            del row[name]
    return to_json(row, allow_nan=False)


def _table(metrics: dict[str, Any]) -> Table:
    table = Table("protocol", *COLUMNS)
    for name in dict.fromkeys(key.rpartition("/")[0] for key in metrics):
        keys = [f"{name}/{column}" for column in COLUMNS]
        if metrics.keys() >= set(keys):
            row = [f"{float(metrics[key]):.1f}" for key in keys]
            table.add_row(name.removeprefix("test/"), *row)
    return table
