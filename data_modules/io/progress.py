"""What commands over many files share: how far they are, and how many processes they start."""

import os

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Rate(ProgressColumn):
    """How many a second.

    Args:
        unit: what is counted, such as ``files``.
    """

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Of the whole task once it is done."""
        return Text(f"{task.finished_speed or task.speed or 0:.1f} {self._unit}/s")


def progress(
    unit: str, *more: ProgressColumn, console: Console | None = None
) -> Progress:
    """A bar with count, rate in ``unit`` a second and time that is left, and ``more`` behind them."""
    bar = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(unit),
        TimeRemainingColumn(),
    )
    return Progress(*bar, *more, console=console)


def cpus() -> int:
    """CPUs that this process may use, which a cluster gives it fewer of than the machine has."""
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
