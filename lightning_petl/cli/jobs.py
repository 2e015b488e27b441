"""``status``, ``cancel`` and ``logs``: the jobs that ``submit`` has started."""

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from lightning_petl.cli.parsers import CommandParser
from lightning_petl.slurm import cluster
from lightning_petl.slurm.script import LOG
from lightning_petl.slurm.submit import JOBS

ACTIVE = (
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "REQUEUED",
    "RESIZING",
    "STOPPED",
)
POLL = 2.0  # seconds between two looks at a log


@dataclass(frozen=True)
class Job:
    """One run in the queue, or a waiting array of them; ``number`` is 17, 17_0 or 17_[0-2]."""

    number: str
    name: str
    state: str
    reason: str
    time: str
    restarts: str
    folder: Path

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def step(self) -> str:
        """That was logged last; nothing before the first."""
        files = (
            RawEventFileLoader(str(file)).Load()
            for file in self.folder.glob("events.out.tfevents.*")
        )
        return str(
            max(
                (Event.FromString(record).step for file in files for record in file),
                default="",
            )
        )


def run(argv: list[str]) -> int:
    """Run ``status``, ``cancel`` or ``logs``."""
    commands = {"status": status, "cancel": cancel, "logs": logs}
    return commands[argv[0]](argv[1:])


def status(argv: list[str]) -> int:
    """Print a table of the jobs."""
    parser = _parser("status")
    parser.add_argument(
        "name", type=str | None, nargs="?", default=None, help="only jobs of this name"
    )
    given = parser.parse_args(argv)
    table = Table(
        *["job", "name", "state", "reason", "time", "restarts", "step", "folder"],
        box=None,
        pad_edge=False,
    )
    for job in _jobs(Path(given.runs), given.name or "*"):
        folder = str(job.folder.relative_to(Path(given.runs).absolute().parent))
        values = (
            job.number,
            job.name,
            job.state,
            job.reason,
            job.time,
            job.restarts,
            job.step,
            folder,
        )
        table.add_row(*map(Text, values))  # not markup
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def cancel(argv: list[str]) -> int:
    """End a job, a task of an array, or all jobs of a name.

    Raises:
        ValueError: none of them is waiting or running.
    """
    parser = _parser("cancel", "It does not come back.")
    parser.add_argument(
        "job", type=str, help="number of a job (17, or 17_0 of an array), or name"
    )
    given = parser.parse_args(argv)
    found = [job.number for job in _find(Path(given.runs), given.job) if job.active]
    if not found:
        raise ValueError(f"cancel: {given.job} has nothing that waits or runs")
    cluster.call("scancel", *found)
    print(f"cancelled {' '.join(found)}")
    return 0


def logs(argv: list[str]) -> int:
    """Print what a job has written.

    Raises:
        ValueError: it has not started.
    """
    parser = _parser("logs")
    parser.add_argument(
        "job",
        type=str,
        help="number of a job (17, or 17_0 of an array), or name, for its newest",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until the job ends"
    )
    given = parser.parse_args(argv)
    job = _find(Path(given.runs), given.job)[-1]
    file = job.folder / LOG
    if not file.exists() and not given.follow:
        raise ValueError(
            f"logs: job {job.number} has written nothing "
            f"yet; it is {job.state} ({job.reason})"
        )
    while given.follow and not file.exists() and job.active:
        time.sleep(POLL)
        job = _find(Path(given.runs), job.number)[-1]
    with file.open(errors="replace") as text:
        while True:
            sys.stdout.write(text.read())
            sys.stdout.flush()
            if not (given.follow and job.active):
                return 0
            time.sleep(POLL)
            job = _find(Path(given.runs), job.number)[-1]


def _parser(command: str, more: str = "") -> CommandParser:
    parser = CommandParser(command, more)
    parser.add_argument("--runs", type=str, default="runs", help="folder of all runs")
    return parser


def _find(runs: Path, wanted: str) -> list[Job]:
    """The jobs of a number or a name, oldest first."""
    is_number = re.fullmatch(r"\d+(_\d+)?", wanted)
    jobs = list(_jobs(runs, "*" if is_number else wanted))
    if is_number:
        array = wanted.partition("_")[0]
        jobs = [
            job for job in jobs if wanted in (job.number, job.number.partition("_")[0])
        ] or [
            job
            for job in jobs
            if "[" in job.number and job.number.startswith(f"{array}_")
        ]
    if not jobs:
        raise ValueError(
            f"no job {wanted!r} was submitted from here; see lightning-petl status"
        )
    return jobs


def _jobs(runs: Path, name: str) -> Iterator[Job]:
    """Every job of the submissions in ``runs/name``."""
    known = cluster.jobs()
    files = sorted(
        runs.absolute().glob(f"{name}/*/{JOBS}"), key=lambda file: file.parent.name
    )
    for file in files:
        for number in file.read_text("utf-8").split():
            yield from _of_submission(number, file.parent, known)


def _of_submission(
    number: str, folder: Path, known: Sequence[dict[str, str]]
) -> Iterator[Job]:
    tasks = [
        fields
        for fields in known
        if number in (fields.get("ArrayJobId"), fields["JobId"])
    ]
    for fields in sorted(
        tasks, key=lambda fields: _first_number(fields.get("ArrayTaskId", "0"))
    ):
        task = fields.get("ArrayTaskId", "")
        yield Job(
            f"{number}_{task if task.isdigit() else f'[{task}]'}" if task else number,
            fields["JobName"],
            fields["JobState"],
            fields["Reason"],
            fields["RunTime"],
            fields.get("Restarts", "0"),
            (folder / task).resolve() if task.isdigit() else folder,
        )
    if not tasks:
        yield _forgotten(number, folder)


def _forgotten(number: str, folder: Path) -> Job:
    """The controller drops ended jobs after some minutes; the accounting, if there is any, keeps them."""
    state, elapsed = "ENDED", ""
    with suppress(ValueError):
        first = cluster.call(
            "sacct", "-n", "-X", "-P", "-j", number, "-o", "State,Elapsed"
        ).splitlines()
        state, elapsed = first[0].split("|") if first else (state, elapsed)
    return Job(number, folder.parent.name, state, "", elapsed, "", folder)


def _first_number(text: str) -> int:
    return int(re.findall(r"\d+", text)[0])
