"""Turn the axes that a command line gives into runs: each has flags and a folder name of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_petl.grids.grid import FOLDERS, combinations


@dataclass(frozen=True)
class Point:
    """Hold one run of a sweep.

    Attributes:
        flags: for ``fit``.
        folder: its name, of the values.
        words: the parts of that name, ``key=value``, by key.
    """

    flags: tuple[str, ...]
    folder: str
    words: Mapping[str, str] = field(default_factory=dict[str, str])


def points(grid: Mapping[str, Sequence[str]], option: str = "sweep") -> list[Point]:
    """Return a point for each combination, the last key varying fastest; one without flags where nothing varies.

    >>> [point.folder for point in points({"model.optim.lr": ["1e-3", "1e-4"]})]
    ['lr=1e-3', 'lr=1e-4']

    Args:
        grid: values by key of ``fit``, as text.
        option: by which the user gave them, for messages.

    Raises:
        ValueError: a key has no values, an empty one or one twice, or two runs would have the same folder.
    """
    # A bank may have an empty text as a value; a command line that ends with a comma is a mistake.
    for key, values in grid.items():
        if "" in values:
            raise ValueError(
                f"{option} {key}: the values must be given and differ, "
                f"but one of {','.join(values) or 'nothing'!r} is empty"
            )
    found: list[Point] = []
    for combination in combinations(grid, FOLDERS, option):
        flags: list[str] = []
        for key, value in combination.values.items():
            flags.append(f"--{key}={value}")
        found.append(Point(tuple(flags), combination.name, combination.words))
    return found


def split(values: str) -> list[str]:
    """Split at commas outside brackets.

    >>> split("1,[2,3]")
    ['1', '[2,3]']
    """
    found = [""]
    depth = 0
    for character in values:
        # A comma inside of a list or a mapping belongs to the value.
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return found


def require_free_data(configs: Sequence[Mapping[str, Any]], option: str) -> None:
    """Refuse seeds beside a seed of the data: all runs would see the same clips and pixels.

    Args:
        configs: the whole configuration of each run.
        option: that varies ``seed_everything`` alone.

    Raises:
        ValueError: a configuration gives ``data.seed``.
    """
    for config in configs:
        seed = config["data"]["init_args"].get("seed")
        if seed is not None:
            raise ValueError(
                "seeds: each run's data follow its seed, but the "
                f"configuration gives data.seed={seed} to all of them: "
                "leave that out (-- --data.seed=null), or vary "
                f"initial values alone: {option} seed_everything=0,1"
            )
