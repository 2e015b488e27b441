"""The options of ``submit``, from the command line and from the YAML files of a site."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser

from lightning_petl.cli.parser_reports import Known, explained
from lightning_petl.slurm.points import SEED, Point, points, split
from lightning_petl.slurm.request import Launch, Limits, Queue, Request, Tasks

_T = TypeVar("_T")
# what submit itself says to fit, and where that comes from
OURS = {
    "--trainer.num_nodes": "nodes",
    "--trainer.devices": "gpus (or tasks_per_node)",
    "--run_folder": "runs and name",
    "--name": "name",
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one call of ``submit`` asks for.

    Attributes:
        request: the job.
        config: files of the training's configuration.
        fit: more flags of ``fit``.
        points: the runs.
        seeds: whether they were asked for by ``--seeds``, which varies initial values and data.
        runs: folder of all runs.
        dry_run: only print the script.
    """

    request: Request
    config: Sequence[Path]
    fit: Sequence[str]
    points: Sequence[Point]
    seeds: bool
    runs: Path
    dry_run: bool


def parse(argv: list[str]) -> Order:
    """Read the command line of ``submit``; what follows ``--`` is for ``fit``.

    Raises:
        ValueError: an option is unknown, malformed or missing, or one for ``fit`` is decided by ``submit``.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    argv, fit = argv[:end], argv[end + 1 :]
    try:
        given = vars(_parser().parse_args(argv))
    except ArgumentError as error:
        quoted = (
            '; YAML takes it for a number unless it is quoted: "24:00:00"'
            if 'key "time"' in str(error)
            else ""
        )
        raise ValueError(
            f"submit: {' '.join(explained(str(error), Known()).split())}{quoted}"
        ) from None
    _not_ours(fit)
    return Order(
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


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="lightning-petl submit",
        description="Submit a training to SLURM. Options of fit follow after --.",
        exit_on_error=False,
        allow_abbrev=False,
    )
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
    parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
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
    return cls(**{field.name: given[field.name] for field in fields(cls)})  # pyright: ignore[reportArgumentType]


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise ValueError(f"config: there is no file {name!r} in {Path.cwd()}")
    return Path(name)


def _varied(seeds: str | None, sweep: Sequence[str] | None) -> dict[str, list[str]]:
    """Values by key; the seeds vary fastest."""
    varied: dict[str, list[str]] = {}
    for text in sweep or ():
        key, equals, values = text.partition("=")
        if not (key and equals) or key in varied or f"--{key}" in OURS:
            raise ValueError(
                f"sweep {text!r} is not KEY=VALUE,VALUE with a KEY of fit that is swept once"
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
    for flag in fit:
        name = flag.partition("=")[0]
        if name in OURS:
            raise ValueError(
                f"{name} must agree with the tasks of the job: submit sets it from {OURS[name]}"
            )
