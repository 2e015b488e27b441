"""Hold what one call of ``sweep`` asks for, and what is trained for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_petl.grids.grid import SEED
from lightning_petl.grids.points import Point

Tested = Literal["all", "chosen", "none"]
"""Which members are tested: all, those of the setting that validation has chosen, or none."""


@dataclass(frozen=True, kw_only=True)
class SweepOrder:
    """Hold what one call of ``sweep`` asks for.

    Attributes:
        folder: of the sweep.
        config: files of the training's configuration.
        fit: more flags of ``fit``.
        grid: values by key, as text.
        points: the runs.
        seeds: whether they were asked for by ``--seeds``, which varies initial values and data.
        jobs: number of processes side by side.
        tested: which members are tested.
        bank: train as few banks as there can be, in the place of one run a member.
        retry: try members again that have failed too often.
        dry_run: only print what would be trained.
        again: the command line that goes on with this sweep.

    Raises:
        ValueError: ``jobs`` is not positive, or nothing varies.
    """

    folder: Path
    config: Sequence[Path]
    fit: Sequence[str]
    grid: Mapping[str, Sequence[str]]
    points: Sequence[Point]
    seeds: bool
    jobs: int = 1
    tested: Tested = "all"
    bank: bool = False
    retry: bool = False
    dry_run: bool = False
    again: str = "lightning-petl sweep"

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {self.jobs}")
        if not self.grid:
            raise ValueError(
                "sweep: nothing varies; give --grid KEY=VALUE,VALUE or --seeds 0,1,2, "
                "or train one run with lightning-petl fit"
            )


@dataclass(frozen=True, kw_only=True)
class Training:
    """Hold what one process of ``fit`` trains: one member of a sweep, or a bank of several.

    Attributes:
        name: of its folder, in that of the sweep.
        folder: the run folder.
        config: its whole configuration.
        text: the same as YAML.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    text: str


@dataclass(frozen=True, kw_only=True)
class SweepMember:
    """Hold one combination of a sweep.

    Attributes:
        name: of the combination, as ``lr=1e-3,seed=0``.
        words: the parts of the name, by key.
        training: the name of what trains it.
        folder: the run folder, or the folder of a member in that of its bank.
        config: its whole configuration, as a run of its own has it.
        text: the same as YAML.
        in_bank: whether a bank trains it.
    """

    name: str
    words: Mapping[str, str]
    training: str
    folder: Path
    config: Mapping[str, Any]
    text: str
    in_bank: bool = False

    @property
    def setting(self) -> str:
        """Return its name without the seed; members of one setting differ in nothing else.

        ``lr=1e-3,seed=0`` gives ``lr=1e-3``.
        """
        words: list[str] = []
        for key, word in self.words.items():
            if key != SEED:
                words.append(word)
        return ",".join(words) or "all seeds"
