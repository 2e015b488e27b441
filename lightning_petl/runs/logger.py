"""Write the TensorBoard events of one run over all its restarts."""

import re
from collections.abc import Mapping
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


class LoggedStep(NamedTuple):
    """Hold what was logged at one step so far.

    Attributes:
        step: number of updates.
        values: by tag.
    """

    step: int
    values: dict[str, float]


class RunLogger(TensorBoardLogger):
    """Write events to the folder of a run: each tag once a step, under the name of :func:`shown_as`.

    Events are lost when a process is killed before they are flushed, and those behind a checkpoint come
    again after a resume. So :meth:`flush` precedes a checkpoint, which holds :attr:`row`. The first value
    that is logged after a resume is preceded by a purge from the step of that row on, and by the row::

        events before the kill   10 20 30 40    (checkpoint at 30)
        after the resume         purge from 30, 30 (row), 40, 50
        TensorBoard shows        10 20 30 40 50

    What logs nothing, as the resume of a run that is finished or one that is refused, leaves all as it is.
    A run that was killed before its first checkpoint begins again, and its events are purged from step 0.

    Args:
        folder: holds the events.
        run: the id of the run.
        row: that of the checkpoint that is resumed.
    """

    def __init__(
        self, folder: Path, *, run: str = "", row: LoggedStep | None = None
    ) -> None:
        super().__init__(str(folder), name="", version="", default_hp_metric=False)
        self.run = run
        self.row = row or LoggedStep(-1, {})
        self._resumes = row is not None or any(folder.glob("events.out.tfevents.*"))

    @override
    @rank_zero_only
    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None
    ) -> None:
        if self._resumes:
            self._purge()
        step = self.row.step if step is None else step
        if step != self.row.step:
            self.row = LoggedStep(step, {})
        new: dict[str, float] = {}
        for tag, value in metrics.items():
            # Preemption has logged this step before its checkpoint, and Lightning logs it again
            if tag not in self.row.values:
                new[tag] = float(value)
        self.row.values.update(new)
        self._show(new, step)

    @rank_zero_only
    def flush(self) -> None:
        """Write to the files what was logged."""
        self.experiment.flush()

    def _purge(self) -> None:
        """Let TensorBoard drop all events from the step of the row on, and log the row again."""
        self._resumes = False
        begin = SessionLog(status=SessionLog.START)
        start = Event(step=max(self.row.step, 0), session_log=begin)
        self.experiment.file_writer.add_event(start)
        self._show(self.row.values, self.row.step)

    def _show(self, values: dict[str, float], step: int) -> None:
        shown = {shown_as(tag): value for tag, value in values.items()}
        super().log_metrics(shown, step)
