"""Queue a training, with options from the command line and the YAML files of a site (``submit``)."""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from lightning_petl.cli.grid_options import (
    add_config,
    add_runs,
    config_files,
    refuse_ours,
    varied,
)
from lightning_petl.cli.parsers import CommandParser
from lightning_petl.cli.read_configurations import configurations
from lightning_petl.grids.points import points
from lightning_petl.slurm.order import Submission
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
    return submit(parse(argv[1:]), configurations)


def parse(
    argv: list[str], *, command: str = "submit", axes: str = "sweep"
) -> Submission:
    """Read the command line of ``submit``; what follows ``--`` is for ``fit``.

    Args:
        argv: the options.
        command: the user's, which is also the name of the job where none is given, unless it is ``submit``.
        axes: the option that says what is varied.

    Raises:
        ValueError: an option is unknown, malformed or missing, or one for ``fit`` is decided by ``submit``.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    fit = argv[end + 1 :]
    try:
        given = vars(_parser(command, axes).parse_args(argv[:end]))
    except ValueError as error:
        raise ValueError(f"{command}: {error}{_quoted(str(error))}") from None
    refuse_ours(fit, OURS, command="submit")
    grid = varied(given[axes], given["seeds"], option=axes, ours=OURS)
    return Submission(
        request=Request(
            name=given["name"],
            tasks=_group(Tasks, given),
            queue=_group(Queue, given),
            limits=_group(Limits, given),
            launch=_group(Launch, given),
        ),
        config=config_files(given["config"] or ()),
        fit=fit,
        points=points(grid, axes),
        axes=axes,
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


def _parser(command: str, axes: str) -> CommandParser:
    parser = CommandParser(command, "Options of fit follow after --.")
    parser.add_argument(
        "--slurm",
        action="config",
        help="YAML file with any of these options, as configs/slurm has.",
    )
    add_config(parser)
    parser.add_argument(
        "--name",
        type=str,
        default="default" if command == "submit" else command,
        help="The job writes to RUNS/NAME/DATE-TIME.",
    )
    add_runs(parser)
    parser.add_argument(
        "--seeds",
        type=str | None,
        default=None,
        help="One run for each, as 0,1,2; initial values and data follow.",
    )
    parser.add_argument(
        f"--{axes}",
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
