"""Seeds and sweeps: every combination is one run with flags and a folder name of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

SEED = "seed_everything"


@dataclass(frozen=True)
class Point:
    """Hold one run of a sweep: its flags, and the folder that they name."""

    flags: tuple[str, ...]
    folder: str


def points(sweep: Mapping[str, Sequence[str]]) -> list[Point]:
    """Return the product of all values, the last key varying fastest; one point without flags where nothing varies.

    Raises:
        ValueError: a key has no values or one twice, or two runs would have the same folder.
    """
    for key, values in sweep.items():
        if not values or "" in values or len(set(values)) < len(values):
            raise ValueError(
                f"sweep {key}: the values must be given and differ, not {','.join(values) or 'nothing'!r}"
            )
    names = _short(list(sweep))
    found = [
        Point(
            tuple(
                f"--{key}={value}" for key, value in zip(sweep, values, strict=True)
            ),
            _folder(
                [
                    f"{name}={value}"
                    for name, value in zip(names, values, strict=True)
                ]
            ),
        )
        for values in product(*sweep.values())
    ]
    if len({point.folder for point in found}) < len(found):
        raise ValueError(
            "sweep: some values differ only in what cannot stand in a folder's name; choose values or files"
        )
    return found


def split(values: str) -> list[str]:
    """Split at commas outside brackets: ``1,[2,3]`` becomes ``1`` and ``[2,3]``."""
    found, depth = [""], 0
    for character in values:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return found


def _short(keys: list[str]) -> list[str]:
    """Return the last word of each key, or the whole key where two end alike."""
    last = ["seed" if key == SEED else key.rpartition(".")[2] for key in keys]
    return [
        word if last.count(word) == 1 else key
        for word, key in zip(last, keys, strict=True)
    ]


def _folder(words: list[str]) -> str:
    return re.sub(r"[^\w.,=+-]", "_", ",".join(words))
