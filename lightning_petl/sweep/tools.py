"""Name what a sweep needs of the command line, which stands above it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning_petl.sweep.scores import ValidationScore


@runtime_checkable
class SweepTools(Protocol):
    """Do for a sweep what only the command line can."""

    def read(self, lines: list[list[str]], *, built: bool = False) -> list[str]:
        """Return the whole configuration of each command line of ``fit`` as YAML; ValueError for a wrong one."""
        ...

    def score(self, run: Path) -> ValidationScore | None:
        """Return the score of the best checkpoint of a run; None where it has none."""
        ...

    def compare(self, runs: Sequence[Path], output: Path) -> int:
        """Compare tested runs, and return the exit code."""
        ...

    def environment(self) -> dict[str, str]:
        """Return the variables of a process of this program."""
        ...
