"""Expand a grid: every combination of its values, each with a name of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

SEED = "seed_everything"
_SHORT_SEED = "seed"


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Say how a combination is named by its values. Published names must stay as they are.

    Attributes:
        between: what stands between two values.
        unsafe: pattern of what becomes ``_``, because a folder has the name.
        single: axes with one value are named, too.
        each: a key whose last part is another key's is written whole, and only that one;
            otherwise all keys are.
    """

    between: str
    unsafe: str
    single: bool
    each: bool


MEMBERS = Naming(
    between="-", unsafe=r"[^.+=,A-Za-z0-9_-]+", single=False, each=False
)
"""Names of the members of a bank, behind the name of the member that is varied."""

FOLDERS = Naming(between=",", unsafe=r"[^\w.,=+-]", single=True, each=True)
"""Folders of the runs of a sweep or an array."""


@dataclass(frozen=True)
class Combination:
    """Hold one combination of a grid.

    Attributes:
        values: by key, all keys of the grid.
        words: ``key=value`` by key, only of the axes that are named.
        name: the words, joined.
    """

    values: Mapping[str, Any]
    words: Mapping[str, str]
    name: str


def combinations(
    grid: Mapping[str, Sequence[Any]], naming: Naming, option: str = "grid"
) -> list[Combination]:
    """Return the product of all axes, the last key varying fastest; one without values where nothing varies.

    >>> found = combinations({"optim.lr": [0.1, 0.01], "seed": [3]}, MEMBERS)
    >>> [combination.name for combination in found]
    ['lr=0.1', 'lr=0.01']

    Args:
        grid: values by key.
        naming: of the combinations.
        option: by which the user gave the grid, for messages.

    Raises:
        ValueError: a key has no values or one twice, or two combinations would have the same name.
    """
    for key, values in grid.items():
        _require_different(f"{option} {key}", values)
    named: list[str] = []
    for key, values in grid.items():
        if naming.single or len(values) > 1:
            named.append(key)
    short = dict(zip(named, short_names(named, each=naming.each), strict=True))
    # By name: two of one name would share a folder.
    found: dict[str, Combination] = {}
    for chosen in product(*grid.values()):
        point = dict(zip(grid, chosen, strict=True))
        words: dict[str, str] = {}
        for key, word in short.items():
            words[key] = _safe(f"{word}={_text(point[key])}", naming)
        name = naming.between.join(words.values())
        if name in found:
            raise ValueError(
                f"{option}: two would be called {name!r}, for some values differ "
                "only in what cannot stand in a folder's name; choose values or files"
            )
        found[name] = Combination(point, words, name)
    return list(found.values())


def short_names(keys: Sequence[str], *, each: bool) -> list[str]:
    """Return the last part of each key, and keys as they are where two end alike.

    >>> short_names(["a.lr", "b.lr", "c.width"], each=True)
    ['a.lr', 'b.lr', 'width']
    >>> short_names(["a.lr", "b.lr", "c.width"], each=False)
    ['a.lr', 'b.lr', 'c.width']
    """
    last: list[str] = []
    for key in keys:
        last.append(_SHORT_SEED if key == SEED else key.rpartition(".")[2])
    names: list[str] = []
    for word, key in zip(last, keys, strict=True):
        alone = last.count(word) == 1
        # All of them or none, unless each key is looked at alone.
        if not each:
            alone = len(set(last)) == len(last)
        names.append(word if alone else key)
    return names


def _require_different(axis: str, values: Sequence[Any]) -> None:
    # By repr: a value may be a list, and 1 is not True.
    different = set(map(repr, values))
    if not values or len(different) < len(values):
        given = ",".join(map(str, values))
        raise ValueError(
            f"{axis}: the values must be given and differ, not {given or 'nothing'!r}"
        )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _safe(word: str, naming: Naming) -> str:
    return re.sub(naming.unsafe, "_", word)
