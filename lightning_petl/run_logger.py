"""TensorBoard events of one run over all its restarts."""

from pathlib import Path
from typing import Any, NamedTuple

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override


class Row(NamedTuple):
    """What is written at one step, so far."""

    step: int
    values: dict[str, float]


class RunLogger(TensorBoardLogger):
    """Writes to the run's folder; each tag once a step, whatever was killed when.

    Events are lost when a process is killed before they are flushed, and those behind a checkpoint come again after a
    resume. So a checkpoint is preceded by :meth:`flush` and holds :attr:`row`; a resume purges from the step of that
    row on, and writes the row again.

    Args:
        folder: holds the events.
        run: what the run is known by.
        row: of the checkpoint that is resumed.
    """

    def __init__(self, folder: Path, *, run: str = "", row: Row | None = None) -> None:
        purge: dict[str, Any] = {} if row is None else {"purge_step": row.step}
        super().__init__(str(folder), name="", version="", default_hp_metric=False, **purge)
        self.run, self.row = run, row or Row(-1, {})

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        step = self.row.step if step is None else step
        if step != self.row.step:
            self.row = Row(step, {})
        new = {tag: float(value) for tag, value in metrics.items() if tag not in self.row.values}
        self.row.values.update(new)
        super().log_metrics(new, step)

    @rank_zero_only
    def write_row_again(self) -> None:
        """After a resume, which purged it."""
        super().log_metrics(self.row.values, self.row.step)

    @rank_zero_only
    def flush(self) -> None:
        """Hand over to the operating system what was logged."""
        self.experiment.flush()
