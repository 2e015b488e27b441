"""Turn a few lines of configuration into many members: every member at every point of a grid."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from lightning_petl.adapters import Adapter
from lightning_petl.grids.grid import MEMBERS, combinations
from lightning_petl.tasks.bank.member import Member

HyperparameterGrid = Mapping[str, Sequence[Any]]
"""Values by path into a member, as ``optim.lr``, ``head.dropout`` or ``adapters.Side4Video.width``."""


def expand(
    members: Mapping[str, Member], grid: HyperparameterGrid
) -> dict[str, Member]:
    """Return every member at every point of the grid, named ``<member>-<last part of a path>=<value>-...``.

    An axis with one value only sets it. Members ``a`` and ``b`` with ``{optim.lr: [0.1, 0.01], seed: [3]}`` give::

        a-lr=0.1    a-lr=0.01    b-lr=0.1    b-lr=0.01          # all of seed 3

    Args:
        members: by name.
        grid: the axes.

    Raises:
        ValueError: no member, a name that cannot be a folder, a path that leads nowhere, a value of another type, or
            two members of one name.
    """
    if not members:
        raise ValueError("a bank without members: give at least one in members")
    found: dict[str, Member] = {}
    points = combinations(grid, MEMBERS)
    for name, member in members.items():
        for point in points:
            full_name = _full_name(name, point.name)
            if full_name in found:
                raise ValueError(f"grid: two members are called {full_name}")
            found[full_name] = _at(member, point.values)
    return found


def _full_name(name: str, point: str) -> str:
    full_name = f"{name}-{point}" if point else name
    if not re.fullmatch(r"[A-Za-z0-9_][.+=,A-Za-z0-9_-]*", full_name):
        raise ValueError(
            f"the member {full_name!r} gets a folder: name it with letters, digits and . _ - + = , alone"
        )
    return full_name


def _at(member: Member, point: Mapping[str, Any]) -> Member:
    changed: Any = member
    for path, value in point.items():
        changed = _changed(changed, path.split("."), value, path)
    return changed


def _changed(recipe: Any, keys: list[str], value: Any, path: str) -> Any:
    """Return the recipe with another value at the end of the path."""
    if isinstance(recipe, list):
        return _changed_methods(cast(list[Adapter], recipe), keys, value, path)
    if not is_dataclass(recipe) or isinstance(recipe, type):
        raise ValueError(f"grid: {path} leads into {recipe!r}, which has no parts")
    key, *rest = keys
    _require_name(key, [field.name for field in fields(recipe)], path)
    if not rest:
        return replace(recipe, **{key: _typed(recipe, key, value, path)})
    inner = _changed(getattr(recipe, key), rest, value, path)
    return replace(recipe, **{key: inner})


def _changed_methods(
    methods: list[Adapter], keys: list[str], value: Any, path: str
) -> list[Adapter]:
    """Return the methods, with another value in each that has the name of the path's next part."""
    name, *rest = keys
    _require_name(name, [method.name for method in methods], path)
    found: list[Adapter] = []
    for method in methods:
        # a stack may hold one method twice, with other settings: all of them stay
        if rest and method.name == name:
            method = _changed(method, rest, value, path)
        found.append(method)
    return found


def _require_name(name: str, names: Sequence[str], path: str) -> None:
    if name not in names:
        raise ValueError(
            f"grid: {path}: no {name!r} here; there is {', '.join(names) or 'nothing'}"
        )


def _typed(recipe: Any, key: str, value: Any, path: str) -> Any:
    """Return the value as a configuration file would have it: of the type that the recipe declares."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=get_type_hints(type(recipe))[key])
    try:
        return parser.parse_object({"value": value})["value"]
    except ArgumentError as error:
        # jsonargparse 4 puts the name of our option before its reason
        reason = str(error).split('"value":')[-1].strip()
        raise ValueError(f"grid: {path}: {reason}") from error
