"""What one member of a bank is, and how a few lines become many members."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import product
from typing import Any, cast, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from lightning_petl.adapters import Adapter
from lightning_petl.heads.linear import LinearHead
from lightning_petl.optim.optimizer import OptimizerConfig

Grid = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run of its own but for the trunk's pass: readers, head, and how they are trained.

    Args:
        adapters: readers (side networks, probes); several are averaged, none means the trunk's own feature.
        head: recipe of the head.
        optim: how the parameters are updated.
        label_smoothing: of the training loss, 0 to 1 (Szegedy et al., 2016).
        clip_norm: largest norm of the member's gradient; None: any.
        seed: of its initial values and its dropout. None: both are those of a run of its own with this run's seed.

    Raises:
        ValueError: a ``clip_norm`` that is not above zero.
    """

    adapters: list[Adapter] = field(default_factory=list[Adapter])
    head: LinearHead = LinearHead()
    optim: OptimizerConfig = OptimizerConfig()
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm {self.clip_norm} must be above zero")


def expand(members: Mapping[str, Member], grid: Grid) -> dict[str, Member]:
    """Every member at every point of the grid, named ``<member>-<last part of a path>=<value>-...``.

    An axis with one value only sets it.

    Args:
        members: by name.
        grid: values by path into a member, as ``optim.lr``, ``head.dropout`` or ``adapters.Side4Video.width``.

    Raises:
        ValueError: no member, a name that cannot be a folder, a path that leads nowhere, a value of another type, or
            two members of one name.
    """
    if not members:
        raise ValueError("a bank without members: give at least one in members")
    found: dict[str, Member] = {}
    for name, member in members.items():
        for point in _points(grid):
            full, changed = (
                _named(
                    name,
                    {
                        path: value
                        for path, value in point.items()
                        if len(grid[path]) > 1
                    },
                ),
                member,
            )
            for path, value in point.items():
                changed = cast(Member, _changed(changed, path.split("."), value, path))
            if full in found:
                raise ValueError(
                    f"grid: two members are called {full}: does an axis name a value twice?"
                )
            found[full] = changed
    return found


def settings(member: Member) -> dict[str, Any]:
    """Its hyper-parameters by path, as in a grid; tuples and lists as text."""
    methods = {
        "adapters": "+".join(adapter.name for adapter in member.adapters) or "none"
    }
    return methods | dict(_leaves(member, ""))


def _points(grid: Grid) -> list[dict[str, Any]]:
    empty = [path for path, values in grid.items() if len(values) == 0]
    if empty:
        raise ValueError(f"grid: {empty[0]} has no values")
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _named(name: str, point: Mapping[str, Any]) -> str:
    leaves = [path.rpartition(".")[2] for path in point]
    paths = leaves if len(set(leaves)) == len(leaves) else list(point)
    values = (
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in point.values()
    )
    parts = [
        f"{path}={re.sub(r'[^.+=,A-Za-z0-9_-]+', '_', value)}"
        for path, value in zip(paths, values, strict=True)
    ]
    full = "-".join([name, *parts])
    if not re.fullmatch(r"[A-Za-z0-9_][.+=,A-Za-z0-9_-]*", full):
        raise ValueError(
            f"the member {full!r} gets a folder: name it with letters, digits and . _ - + = , alone"
        )
    return full


def _changed(recipe: Any, keys: list[str], value: Any, path: str) -> Any:
    """The recipe with another value at the end of the path."""
    key, rest = keys[0], keys[1:]
    if isinstance(recipe, list):  # of methods
        methods = {adapter.name: adapter for adapter in cast(list[Adapter], recipe)}
        _known(key, methods, path)
        return [
            _changed(m, rest, value, path) if rest and name == key else m
            for name, m in methods.items()
        ]
    if not is_dataclass(recipe) or isinstance(recipe, type):
        raise ValueError(f"grid: {path} leads into {recipe!r}, which has no parts")
    _known(key, [f.name for f in fields(recipe)], path)
    inner = (
        _changed(getattr(recipe, key), rest, value, path)
        if rest
        else _typed(recipe, key, value, path)
    )
    return replace(recipe, **{key: inner})


def _known(key: str, names: Any, path: str) -> None:
    if key not in names:
        raise ValueError(
            f"grid: {path}: no {key!r} here; there is {', '.join(names) or 'nothing'}"
        )


def _typed(recipe: Any, key: str, value: Any, path: str) -> Any:
    """The value as a configuration file would have it: of the type that the recipe declares."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=get_type_hints(type(recipe))[key])
    try:
        return parser.parse_object({"value": value})["value"]
    except ArgumentError as error:
        reason = str(error).split('"value":')[-1].strip()
        raise ValueError(f"grid: {path}: {reason}") from error


def _leaves(recipe: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in (f.name for f in fields(recipe)):
        value = getattr(recipe, name)
        if isinstance(value, list) and name == "adapters":
            for adapter in cast(list[Adapter], value):
                yield from _leaves(adapter, f"{prefix}adapters.{adapter.name}.")
        elif is_dataclass(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield (
                prefix + name,
                value if isinstance(value, int | float | str) else str(value),
            )
