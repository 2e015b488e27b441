"""What commands over many files share: a progress bar, and a number of processes."""

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
    """Show how many a second are done.

    Args:
        unit: what is counted, such as ``files``.
    """

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate of now, and that of the whole task once it is done."""
        return Text(f"{task.finished_speed or task.speed or 0:.1f} {self._unit}/s")


def progress(
    unit: str, *more: ProgressColumn, console: Console | None = None
) -> Progress:
    """Return a bar with count, rate and time that is left.

    Args:
        unit: what is counted, such as ``files``.
        more: columns behind these.
        console: where it is drawn.
    """
    bar = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(unit),
        TimeRemainingColumn(),
    )
    return Progress(*bar, *more, console=console)


def cpus() -> int:
    """Return how many CPUs this process may use.

    On a cluster they are fewer than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
