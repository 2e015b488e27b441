"""Read which other configurations a configuration is built on: its key ``configs``.

``a.yaml`` with the line ``configs: [backbone/clip_b16, data/ssv2]`` is read as if these two were given before it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard, cast

import yaml

KEY = "configs"
OPTIONS = ("-c", "--config")
"""By which a command line names a configuration."""
# A file without this line is not parsed twice.
_LINE = re.compile(rf"^{KEY}\s*:", re.MULTILINE)
_FORM = f"{KEY}: [backbone/clip_b16, data/ssv2]"


def of(file: Path, shipped: Callable[[str], Path]) -> list[Path]:
    """Return the files that a configuration is built on, in the order in which they are read, each once.

    Example: where ``c.yaml`` is built on ``a.yaml`` and ``b.yaml``, and ``b.yaml`` on ``a.yaml`` and ``z.yaml``, the
    result for ``c.yaml`` is ``a.yaml``, ``z.yaml``, ``b.yaml``.

    Args:
        file: the configuration; one that is no readable YAML is built on nothing, for its reader tells what is wrong.
        shipped: gives the file of the name of a shipped configuration, or a ValueError.

    Raises:
        ValueError: what a file is built on is no list of names, is not there, or leads back to the file.
    """
    found = list[Path]()
    _add(file, shipped, found, (file.absolute(),))
    return found


def without(value: Any) -> Any:
    """Return a configuration without the key, which no parser knows."""
    if isinstance(value, dict) and _is_list_of_names(value.get(KEY)):
        value.pop(KEY)
    return value


def _add(
    file: Path,
    shipped: Callable[[str], Path],
    found: list[Path],
    path: tuple[Path, ...],
) -> None:
    """Append what a file is built on.

    Args:
        file: that file.
        shipped: as for :func:`of`.
        found: what is read before it so far.
        path: the files that led here, the file itself last.
    """
    for name in _names(file):
        base = _base(file, name, shipped)
        if base.absolute() in path:
            raise ValueError(
                f"{file}: {KEY} names {name}, which is built "
                "on this file itself; leave one of them out"
            )
        _add(base, shipped, found, (*path, base.absolute()))
        if base not in found:
            found.append(base)


def _names(file: Path) -> list[str]:
    try:
        text = file.read_text("utf-8")
        known = yaml.safe_load(text) if _LINE.search(text) else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    if not isinstance(known, dict):
        return []
    names = cast(dict[str, Any], known).get(KEY)
    if not _is_list_of_names(names):
        raise ValueError(
            f"{file}: {KEY} is {names!r}, but it is a list "
            f"of names of configurations, as {_FORM}"
        )
    return names


def _is_list_of_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _base(file: Path, name: str, shipped: Callable[[str], Path]) -> Path:
    # A file beside this one comes before a shipped one of that name.
    beside = file.parent / name
    if beside.is_file():
        return beside
    try:
        return shipped(name)
    except ValueError as error:
        raise ValueError(f"{file}: {KEY} names {name}: {error}") from error
