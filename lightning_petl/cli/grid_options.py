"""Describe and read the options that ``sweep`` and ``submit`` share: what is trained, and what varies."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lightning_petl.cli.parsers import CommandParser
from lightning_petl.grids.grid import SEED
from lightning_petl.grids.points import split


def add_config(parser: CommandParser) -> None:
    """Add the option for the files of ``fit``."""
    parser.add_argument(
        "-c",
        "--config",
        type=str,
        action="append",
        help="YAML file for fit; may be repeated.",
    )


def add_runs(parser: CommandParser) -> None:
    """Add the option for the folder of all runs."""
    parser.add_argument(
        "--runs", type=str, default="runs", help="Folder of all runs."
    )


def config_files(names: Sequence[str]) -> list[Path]:
    """Return the files that ``--config`` names.

    Raises:
        ValueError: one of them is not there.
    """
    for name in names:
        if not Path(name).is_file():
            raise ValueError(f"config: there is no file {name!r} in {Path.cwd()}")
    return [Path(name) for name in names]


def varied(
    axes: Sequence[str] | None,
    seeds: str | None,
    *,
    option: str,
    ours: Collection[str],
) -> dict[str, list[str]]:
    """Return the values of each key that is varied; the seeds come last and so vary fastest.

    >>> varied(["model.optim.lr=1e-3,3e-4"], "0,1", option="grid", ours=[])
    {'model.optim.lr': ['1e-3', '3e-4'], 'seed_everything': ['0', '1']}

    Args:
        axes: ``KEY=VALUE,VALUE`` each.
        seeds: whole numbers with commas between them.
        option: by which the axes were given, for messages.
        ours: options of ``fit`` that the command sets itself, as ``--run_folder``.

    Raises:
        ValueError: a key is given twice, is no key of ``fit`` or has no values, or a seed is no number.
    """
    found: dict[str, list[str]] = {}
    for text in axes or ():
        key, equals, values = text.partition("=")
        is_key = bool(key and equals) and not key.startswith("-")
        if not is_key or key in found or f"--{key}" in ours:
            raise ValueError(
                f"{option} {text!r} is not KEY=VALUE,VALUE "
                "with a KEY of fit that is swept once"
            )
        found[key] = split(values)
    if seeds is None:
        return found
    numbers = seeds.split(",")
    # Not isdigit, which takes other digits than int does.
    if not all(seed.isdecimal() for seed in numbers):
        raise ValueError(
            f"seeds must be whole numbers with commas between them, not {seeds!r}"
        )
    if SEED in found:
        raise ValueError(
            f"seeds and {option} {SEED} both give seeds: leave one out"
        )
    found[SEED] = numbers
    return found


def refuse_ours(fit: Sequence[str], ours: Mapping[str, str], command: str) -> None:
    """Refuse options of ``fit`` that a command sets itself.

    Args:
        fit: the options that are given.
        ours: what the command sets, and from which options of its own.
        command: its name.

    Raises:
        ValueError: there is one.
    """
    for flag in fit:
        name = flag.partition("=")[0]
        if name in ours:
            raise ValueError(
                f"{name} is not for the options of fit here: "
                f"{command} sets it from {ours[name]}"
            )
