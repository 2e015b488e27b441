"""Check what training needs of this machine or of a cluster (``doctor``).

The checks are imported where they are yielded: ``doctor --help`` then needs no torch.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console

from lightning_petl.cli.parsers import CommandParser
from lightning_petl.doctor.finding import Check, Finding, guarded, report


def run(argv: list[str]) -> int:
    """Run the checks, print the report, and return 0, or 1 where something is bad."""
    options = _parser().parse_args(argv[1:])
    # On stderr where stdout is for JSON.
    console = Console(stderr=options.json)
    findings = _look(console, _machine(options))
    if options.slurm:
        overview = _look(console, _overview(options))
        findings += overview
        # Jobs would wait in vain on a cluster that cannot run them.
        if not _bad(overview):
            findings += _look(console, _cluster(options))
    bad = _bad(findings)
    if options.json:
        print(*(json.dumps(finding._asdict()) for finding in findings), sep="\n")
        return int(bad > 0)
    console.print(report(findings))
    if bad:
        console.print(f"{bad} of {len(findings)} findings must be mended")
    else:
        console.print("nothing is wrong")
    return int(bad > 0)


def _look(console: Console, checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    # All of them first, for their number.
    named = list(checks)
    findings: list[Finding] = []
    for number, (name, check) in enumerate(named, start=1):
        with console.status(f"{number} of {len(named)}: {name}"):
            findings += guarded(name, check)
    return findings


def _bad(findings: Iterable[Finding]) -> int:
    return sum(finding.state == "bad" for finding in findings)


def _machine(options: Namespace) -> Iterator[tuple[str, Check]]:
    from lightning_petl.doctor import decoding, drill, machine, ranks

    yield "packages", machine.packages
    yield "devices", machine.devices
    yield "threads", machine.threads
    yield "file system", partial(machine.file_system, Path(options.runs))
    yield (
        "decoding",
        partial(decoding.decode_rate, options.video and Path(options.video)),
    )
    yield "ranks", ranks.two_processes
    if not options.quick:
        yield "preemption", drill.preemption


def _overview(options: Namespace) -> Iterator[tuple[str, Check]]:
    from lightning_petl.doctor import cluster

    yield "SLURM", partial(cluster.overview, options.partition, options.nodes)


def _cluster(options: Namespace) -> Iterator[tuple[str, Check]]:
    from lightning_petl.doctor import cluster, steps

    where = steps.options(options.partition, options.gpus)
    yield "SLURM's rules", cluster.rules
    yield "tasks", cluster.inside_job
    yield "a node", partial(steps.one_node, where, Path(options.runs))
    yield (
        "nodes",
        partial(
            steps.nodes, options.nodes, options.gpus, where, Path(options.runs)
        ),
    )
    if not options.quick:
        yield (
            "preempted job",
            partial(steps.preempted_job, options.partition, Path(options.runs)),
        )


def _parser() -> CommandParser:
    parser = CommandParser("doctor")
    _add_flag(parser, "slurm", "also check the cluster; needs SLURM's clients")
    parser.add_argument(
        "--nodes",
        type=int,
        default=2,
        help="nodes that must compute together (with --slurm)",
    )
    parser.add_argument(
        "--gpus",
        type=int,
        default=0,
        help="GPUs of each node that must compute together (with --slurm)",
    )
    parser.add_argument(
        "--partition",
        type=str | None,
        default=None,
        help="where the jobs of --slurm go",
    )
    parser.add_argument(
        "--video",
        type=str | None,
        default=None,
        help="a video of yours to decode; one is drawn where not given",
    )
    parser.add_argument(
        "--runs",
        type=str,
        default="runs",
        help="the folder that runs are written to",
    )
    _add_flag(parser, "json", "print the findings as JSON, one a line")
    _add_flag(parser, "quick", "leave out the drills, which train for a moment")
    return parser


def _add_flag(parser: CommandParser, name: str, what: str) -> None:
    parser.add_argument(f"--{name}", action="store_true", help=what)
