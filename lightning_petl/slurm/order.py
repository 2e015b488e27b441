"""Hold what one call of ``submit`` asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_petl.grids.points import Point
from lightning_petl.slurm.request import Request


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Hold what one call of ``submit`` asks for.

    Attributes:
        request: the job.
        config: files of the training's configuration.
        fit: more flags of ``fit``.
        points: the runs.
        axes: the option by which the varied keys were given.
        seeds: whether they were asked for by ``--seeds``, which varies initial values and data.
        runs: folder of all runs.
        dry_run: only print the script.
    """

    request: Request
    config: Sequence[Path]
    fit: Sequence[str]
    points: Sequence[Point]
    axes: str = "sweep"
    seeds: bool
    runs: Path
    dry_run: bool
