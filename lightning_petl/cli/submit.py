"""Queue a training, with options from the command line and the YAML files of a site (``submit``)."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import lightning_petl
from lightning_petl.cli.parsers import CommandParser
from lightning_petl.slurm.order import Submission
from lightning_petl.slurm.points import SEED, points, split
from lightning_petl.slurm.request import Launch, Limits, Queue, Request, Tasks
from lightning_petl.slurm.submit import submit

_T = TypeVar("_T")
# what submit itself says to fit, and where that comes from
OURS = {
    "--trainer.num_nodes": "nodes",
    "--trainer.devices": "gpus (or tasks_per_node)",
    "--run_folder": "runs and name",
    "--name": "name",
}


def run(argv: list[str]) -> int:
    """Run ``submit``."""
    return submit(parse(argv[1:]), _configurations)


def _configurations(lines: list[list[str]]) -> list[str]:
    """Return the whole configuration of each command line of ``fit``, as YAML.

    They are read in a process of their own, as ``fit`` reads them: importing torch takes
    seconds, and what it leaves in a process would hide what a job lacks.

    Raises:
        ValueError: ``fit`` would refuse one.
    """
    done = subprocess.run(
        # -P: a file of the user's in the current folder must not hide a module.
        [sys.executable, "-P", "-m", "lightning_petl.cli.check_submission"],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": _search_path()},
    )
    if done.returncode:
        raise ValueError(_told(done.stderr))
    return json.loads(done.stdout)


def _search_path() -> str:
    """Return ``PYTHONPATH`` with the folder of this package in front, which need not be installed."""
    home = str(Path(lightning_petl.__file__).parents[1])
    given = os.environ.get("PYTHONPATH")
    # An empty entry would stand for the current folder.
    return f"{home}{os.pathsep}{given}" if given else home


def _told(stderr: str) -> str:
    """Return the last paragraph that the process told, or all that it printed."""
    begin = "lightning-petl: "
    # Warnings of libraries may stand before it.
    told = [line for line in stderr.splitlines() if line.startswith(begin)]
    return told[-1].removeprefix(begin) if told else stderr


def parse(argv: list[str]) -> Submission:
    """Read the command line of ``submit``; what follows ``--`` is for ``fit``.

    Raises:
        ValueError: an option is unknown, malformed or missing, or one for ``fit`` is decided by ``submit``.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    fit = argv[end + 1 :]
    try:
        given = vars(_parser().parse_args(argv[:end]))
    except ValueError as error:
        raise ValueError(f"submit: {error}{_quoted(str(error))}") from None
    _not_ours(fit)
    return Submission(
        request=Request(
            name=given["name"],
            tasks=_group(Tasks, given),
            queue=_group(Queue, given),
            limits=_group(Limits, given),
            launch=_group(Launch, given),
        ),
        config=[_file(file) for file in given["config"] or ()],
        fit=fit,
        points=points(_varied(given["seeds"], given["sweep"])),
        seeds=given["seeds"] is not None,
        runs=Path(given["runs"]),
        dry_run=given["dry_run"],
    )


def _quoted(message: str) -> str:
    """Return a hint for a time that stands in a YAML file without quotes."""
    # YAML 1.1 reads 24:00:00 as a number with base 60.
    if not message.startswith("time:"):
        return ""
    return '; YAML takes it for a number unless it is quoted: "24:00:00"'


def _parser() -> CommandParser:
    parser = CommandParser("submit", "Options of fit follow after --.")
    parser.add_argument(
        "--slurm",
        action="config",
        help="YAML file with any of these options, as configs/slurm has.",
    )
    parser.add_argument(
        "-c",
        "--config",
        type=str,
        action="append",
        help="YAML file for fit; may be repeated.",
    )
    parser.add_argument(
        "--name",
        type=str,
        default="default",
        help="The job writes to RUNS/NAME/DATE-TIME.",
    )
    parser.add_argument(
        "--runs", type=str, default="runs", help="Folder of all runs."
    )
    parser.add_argument(
        "--seeds",
        type=str | None,
        default=None,
        help="One run for each, as 0,1,2; initial values and data follow.",
    )
    parser.add_argument(
        "--sweep",
        type=str,
        action="append",
        help="KEY=VALUE,VALUE: one run for each combination.",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Print the script, write and submit nothing.",
    )
    for group in (Tasks, Queue, Limits, Launch):
        parser.add_class_arguments(group)
    return parser


def _group(cls: type[_T], given: dict[str, Any]) -> _T:
    """Build one group of options from those of the command line."""
    arguments: dict[str, Any] = {}
    for field in fields(cls):  # pyright: ignore[reportArgumentType]
        arguments[field.name] = given[field.name]
    return cls(**arguments)


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise ValueError(f"config: there is no file {name!r} in {Path.cwd()}")
    return Path(name)


def _varied(seeds: str | None, sweep: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the values of each key that is varied; the seeds come last and so vary fastest.

    Raises:
        ValueError: a key is given twice, is no key of ``fit`` or has no values, or a seed is no number.
    """
    varied: dict[str, list[str]] = {}
    for text in sweep or ():
        key, equals, values = text.partition("=")
        if not (key and equals) or key in varied or f"--{key}" in OURS:
            raise ValueError(
                f"sweep {text!r} is not KEY=VALUE,VALUE "
                "with a KEY of fit that is swept once"
            )
        varied[key] = split(values)
    if seeds is not None:
        if not all(seed.isdigit() for seed in seeds.split(",")):
            raise ValueError(
                f"seeds must be whole numbers with commas between them, not {seeds!r}"
            )
        varied[SEED] = seeds.split(",")
    return varied


def _not_ours(fit: Sequence[str]) -> None:
    """Refuse options of ``fit`` that ``submit`` sets itself.

    Raises:
        ValueError: there is one.
    """
    for flag in fit:
        name = flag.partition("=")[0]
        if name in OURS:
            raise ValueError(
                f"{name} must agree with the tasks of the "
                f"job: submit sets it from {OURS[name]}"
            )
