"""What was measured, as tables for people: on the terminal and as markdown."""

import platform
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.grid import Grid
from experiments.benchmarks.machine import cpu

PACKAGES = (
    "torch",
    "av",
    "decord",
    "torchcodec",
    "opencv-python-headless",
    "numpy",
)


@dataclass(frozen=True)
class Goal:
    """A ratio to reach; ``measured`` is None where a side of it is not available."""

    what: str
    least: float
    measured: float | None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """A row of the table of goals."""
        if self.measured is None:
            return self.what, f"{self.least:.2f}", "not available", ""
        return (
            self.what,
            f"{self.least:.2f}",
            f"{self.measured:.2f}",
            "yes" if self.measured >= self.least else "NO",
        )


@dataclass
class Report:
    """Tables in the order in which they were measured."""

    settings: str
    grids: list[Grid] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The whole page: goals first."""
        goals = Grid(
            "Goals",
            ("ratio of medians", "at least", "measured", "reached"),
            [g.cells for g in self.goals],
        )
        head = f"# Data benchmark, {time.strftime('%Y-%m-%d')}, {cpu()}\n\n{self.settings}\n\n{versions()}\n"
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n".join(
            [
                head,
                *(grid.markdown() for grid in (goals, *self.grids)),
                f"## Notes\n\n{notes}\n",
            ]
        )

    def show(self, console: Console) -> None:
        """All tables, goals last."""
        for grid in self.grids:
            console.print(grid.rich())
        goals = Table(
            "ratio",
            "at least",
            "measured",
            "reached",
            title="Goals",
            title_justify="left",
        )
        for goal in self.goals:
            goals.add_row(*goal.cells)
        console.print(goals)
        for note in self.notes:
            console.print(f"- {note}", highlight=False)


def versions() -> str:
    """Of what takes part."""
    return (
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
        + "."
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def milliseconds(value: float | None) -> str:
    """Three digits are enough."""
    return "not available" if value is None else f"{value:.1f}"
