"""TensorBoard events of one run over all its restarts."""

import re
from pathlib import Path
from typing import NamedTuple

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import (  # made when tensorboard is built
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from typing_extensions import override

_BEHIND = re.compile(r"(cost|data|epoch|lr)([/-]|$)")


def shown_as(tag: str) -> str:
    """Return the name of a tag in TensorBoard; ``shown_as("cost/clips_per_s")`` is ``"z_cost/clips_per_s"``.

    TensorBoard sorts groups by name and opens the first two: they must be those of loss and accuracy, ``train`` and
    ``val``, not what is looked at once in a while.
    """
    return f"z_{tag}" if _BEHIND.match(tag) else tag


class Row(NamedTuple):
    """What is written at one step, so far."""

    step: int
    values: dict[str, float]


class RunLogger(TensorBoardLogger):
    """Writes to the run's folder; each tag once a step, whatever was killed when, under the name of :func:`shown_as`.

    Events are lost when a process is killed before they are flushed, and those behind a checkpoint come again after a
    resume. So a checkpoint is preceded by :meth:`flush` and holds :attr:`row`; the first thing that is logged after a
    resume comes behind a purge from the step of that row on, and the row again. What logs nothing, as the resume of a
    run that is finished or one that is refused, leaves all as it is. A run that was killed before its first checkpoint
    begins again, and what its first start wrote is purged from step 0 on.

    Args:
        folder: holds the events.
        run: what the run is known by.
        row: of the checkpoint that is resumed.
    """

    def __init__(self, folder: Path, *, run: str = "", row: Row | None = None) -> None:
        super().__init__(str(folder), name="", version="", default_hp_metric=False)
        self.run, self.row = run, row or Row(-1, {})
        self._resumes = row is not None or any(folder.glob("events.out.tfevents.*"))

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._resumes:
            self._purge()
        step = self.row.step if step is None else step
        if step != self.row.step:
            self.row = Row(step, {})
        new = {
            tag: float(value)
            for tag, value in metrics.items()
            if tag not in self.row.values
        }
        self.row.values.update(new)
        self._show(new, step)

    @rank_zero_only
    def flush(self) -> None:
        """Hand over to the operating system what was logged."""
        self.experiment.flush()

    def _purge(self) -> None:
        self._resumes = False
        start = Event(
            step=max(self.row.step, 0), session_log=SessionLog(status=SessionLog.START)
        )
        self.experiment.file_writer.add_event(start)
        self._show(self.row.values, self.row.step)

    def _show(self, values: dict[str, float], step: int) -> None:
        super().log_metrics(
            {shown_as(tag): value for tag, value in values.items()}, step
        )
