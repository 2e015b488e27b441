"""The command ``doctor``."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

from lightning_petl.cli.parser_reports import OptionParser
from lightning_petl.doctor.finding import Check, Finding, guarded, report


def run(argv: list[str]) -> int:
    """``doctor`` and its options: check, print the report, and return 0, or 1 where something is bad."""
    options = _parser().parse_args(argv[1:])
    console = Console(stderr=options.json)
    findings = _look(console, _machine(options))
    if options.slurm:
        findings += (found := _look(console, _overview(options)))
        if not _bad(found):  # else the others would only wait in vain
            findings += _look(console, _cluster(options))
    bad = _bad(findings)
    if options.json:
        print(*(json.dumps(finding._asdict()) for finding in findings), sep="\n")
        return int(bad > 0)
    console.print(report(findings))
    console.print(
        f"{bad} of {len(findings)} findings must be mended"
        if bad
        else "nothing is wrong"
    )
    return int(bad > 0)


def _look(console: Console, checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    named = list(checks)
    findings: list[Finding] = []
    for number, (name, check) in enumerate(named, start=1):
        with console.status(f"{number} of {len(named)}: {name}"):
            findings += guarded(name, check)
    return findings


def _bad(findings: Iterable[Finding]) -> int:
    return sum(finding.state == "bad" for finding in findings)


def _machine(options: argparse.Namespace) -> Iterator[tuple[str, Check]]:
    from lightning_petl.doctor import decoding, drill, machine, ranks

    yield "packages", machine.packages
    yield "devices", machine.devices
    yield "threads", machine.threads
    yield "file system", partial(machine.file_system, options.runs)
    yield "decoding", partial(decoding.decode_rate, options.video)
    yield "ranks", ranks.two_processes
    if not options.quick:
        yield "preemption", drill.preemption


def _overview(options: argparse.Namespace) -> Iterator[tuple[str, Check]]:
    from lightning_petl.doctor import cluster

    yield "SLURM", partial(cluster.overview, options.partition, options.nodes)


def _cluster(options: argparse.Namespace) -> Iterator[tuple[str, Check]]:
    from lightning_petl.doctor import cluster, steps

    where = steps.options(options.partition, options.gpus)
    yield "SLURM's rules", cluster.rules
    yield "tasks", cluster.inside_job
    yield "a node", partial(steps.one_node, where, options.runs)
    yield (
        "nodes",
        partial(steps.nodes, options.nodes, options.gpus, where, options.runs),
    )
    if not options.quick:
        yield (
            "preempted job",
            partial(steps.preempted_job, options.partition, options.runs),
        )


def _parser() -> argparse.ArgumentParser:
    parser = OptionParser(
        prog="lightning-petl doctor",
        description="Check what training needs of this machine, or of a cluster, and say what is wrong.",
    )
    add: Callable[..., object] = parser.add_argument
    add(
        "--slurm",
        action="store_true",
        help="also check the cluster; needs SLURM's clients",
    )
    add(
        "--nodes",
        type=int,
        default=2,
        help="nodes that must compute together (with --slurm)",
    )
    add(
        "--gpus",
        type=int,
        default=0,
        help="GPUs of each node that must compute together (with --slurm)",
    )
    add("--partition", help="where the jobs of --slurm go")
    add(
        "--video",
        type=Path,
        help="a video of yours to decode; one is drawn where not given",
    )
    add(
        "--runs",
        type=Path,
        default=Path("runs"),
        help="the folder that runs are written to",
    )
    add("--json", action="store_true", help="print the findings as JSON, one a line")
    add(
        "--quick",
        action="store_true",
        help="leave out the drills, which train for a moment",
    )
    return parser
