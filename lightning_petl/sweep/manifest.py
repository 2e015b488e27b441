"""Keep what a sweep was asked for in its folder, and refuse another one there."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from data_modules.io.atomic import write_whole
from lightning_petl.runs.config_diff import config_differences
from lightning_petl.sweep.order import SweepMember, SweepOrder

MANIFEST = "sweep.yaml"

_LISTED = 3  # differences in one message
# where a run lies, which is no setting
_PLACES = ("run_folder",)


def check_folder(order: SweepOrder) -> None:
    """Refuse a folder that holds something else than this sweep, as far as the command line tells.

    Raises:
        ValueError: it holds another sweep, or files of something else.
    """
    folder = order.folder
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(
            f"name: {folder} is a file, and a sweep needs a folder; give another --name"
        )
    held = _manifest(folder)
    if held is None:
        # What begins with a dot is of the system, or a lock of ours.
        names = sorted(entry.name for entry in folder.iterdir())
        others = [name for name in names if not name.startswith(".")]
        if others:
            raise ValueError(
                f"name: {folder} holds {others[0]!r} and no {MANIFEST}, so it is not "
                "the folder of a sweep; give another --name"
            )
        return
    now = _asked(order)
    then = {key: held.get(key) for key in now}
    _refuse(folder, config_differences(then, now), "")


def check_members(order: SweepOrder, members: Sequence[SweepMember]) -> None:
    """Refuse to go on with a sweep whose configurations are others now.

    Raises:
        ValueError: one is.
    """
    held = _manifest(order.folder)
    if held is None:
        return
    before = cast(dict[str, Any], held.get("configurations", {}))
    for member in members:
        then = before.get(member.name)
        if then is not None:
            differences = config_differences(then, dict(member.config))
            _refuse(order.folder, differences, f"{member.name}: ")


def write_manifest(order: SweepOrder, members: Sequence[SweepMember]) -> None:
    """Write what was asked for, once."""
    path = order.folder / MANIFEST
    # It stays as the first start wrote it.
    if path.exists():
        return
    configurations: dict[str, Any] = {}
    for member in members:
        configurations[member.name] = dict(member.config)
    content = {**_asked(order), "configurations": configurations}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_whole(path, os.fsencode(text))


def _asked(order: SweepOrder) -> dict[str, Any]:
    grid: dict[str, list[str]] = {}
    for key, values in order.grid.items():
        grid[key] = list(values)
    return {"grid": grid, "bank": order.bank}


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: is not what a sweep writes there; put it back, or give another --name"
        )
    return cast(dict[str, Any], content)


def _refuse(
    folder: Path, differences: Iterator[tuple[str, Any, Any]], where: str
) -> None:
    """Raise a ValueError that names the first differences, if there are any."""
    told: list[str] = []
    for key, before, now in differences:
        # The folder of all runs may have been moved.
        if key not in _PLACES:
            told.append(f"{key}: {before} -> {now}")
    if not told:
        return
    first = "; ".join(told[:_LISTED])
    if len(told) > _LISTED:
        first += f"; and {len(told) - _LISTED} more"
    raise ValueError(
        f"{folder} holds another sweep ({where}{first}); with the settings of before "
        "it goes on, and with another --name a new one begins"
    )
