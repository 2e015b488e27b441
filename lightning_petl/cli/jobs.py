"""Show and cancel the jobs that ``submit`` has started (``status``, ``cancel`` and ``logs``)."""

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
from tensorboard.backend.event_processing.event_file_loader import (
    RawEventFileLoader,
)

# Generated from a .proto file when it is imported, where type checkers see nothing.
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from lightning_petl.cli.parsers import CommandParser
from lightning_petl.slurm import cluster
from lightning_petl.slurm.script import LOG
from lightning_petl.slurm.submit import JOBS

# states of SLURM in which a job may still be cancelled
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
# seconds between two looks at a log; each asks the controller, which all users share
POLL = 2.0
_COLUMNS = (
    "job",
    "name",
    "state",
    "reason",
    "time",
    "restarts",
    "step",
    "folder",
)


@dataclass(frozen=True)
class Job:
    """Hold one run in the queue, or a waiting array of them; ``number`` is 17, 17_0 or 17_[0-2]."""

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
        """Return the highest update that was logged, as text; nothing before the first."""
        steps: list[int] = []
        # A restart begins another file.
        for file in self.folder.glob("events.out.tfevents.*"):
            for record in RawEventFileLoader(str(file)).Load():
                steps.append(Event.FromString(record).step)
        return str(max(steps, default=""))


def run(argv: list[str]) -> int:
    """Run ``status``, ``cancel`` or ``logs``."""
    commands = {"status": status, "cancel": cancel, "logs": logs}
    return commands[argv[0]](argv[1:])


def status(argv: list[str]) -> int:
    """Print a table of the jobs."""
    parser = _parser("status")
    parser.add_argument(
        "name",
        type=str | None,
        nargs="?",
        default=None,
        help="only jobs of this name",
    )
    given = parser.parse_args(argv)
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    above = Path(given.runs).absolute().parent
    for job in _jobs(Path(given.runs), given.name or "*"):
        # As Text: brackets in a string are markup for rich.
        table.add_row(*map(Text, _row(job, above)))
    # rich takes 80 columns for a file or a pipe, and would wrap the folders.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def _row(job: Job, above: Path) -> tuple[str, ...]:
    return (
        job.number,
        job.name,
        job.state,
        job.reason,
        job.time,
        job.restarts,
        job.step,
        str(job.folder.relative_to(above)),
    )


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
        job = _later(Path(given.runs), job)
    with file.open(errors="replace") as text:
        while True:
            sys.stdout.write(text.read())
            sys.stdout.flush()
            if not (given.follow and job.active):
                return 0
            job = _later(Path(given.runs), job)


def _later(runs: Path, job: Job) -> Job:
    """Return a job as it is after a pause of ``POLL`` seconds."""
    time.sleep(POLL)
    return _find(runs, job.number)[-1]


def _parser(command: str, more: str = "") -> CommandParser:
    parser = CommandParser(command, more)
    parser.add_argument(
        "--runs", type=str, default="runs", help="folder of all runs"
    )
    return parser


def _find(runs: Path, wanted: str) -> list[Job]:
    """Return the jobs of a number or a name, oldest first.

    Raises:
        ValueError: there is none.
    """
    is_number = re.fullmatch(r"\d+(_\d+)?", wanted)
    jobs = list(_jobs(runs, "*" if is_number else wanted))
    if is_number:
        jobs = _of_number(jobs, wanted)
    if not jobs:
        raise ValueError(
            f"no job {wanted!r} was submitted from here; see lightning-petl status"
        )
    return jobs


def _of_number(jobs: list[Job], wanted: str) -> list[Job]:
    """Return the job of a number, all tasks of an array, or the waiting array that has a task of that number.

    ``17`` finds 17, or 17_0, 17_1 and 17_[2-9]; ``17_5`` finds 17_5, and before that starts 17_[2-9].
    """
    array = wanted.partition("_")[0]
    exact: list[Job] = []
    waiting: list[Job] = []
    for job in jobs:
        if wanted in (job.number, job.number.partition("_")[0]):
            exact.append(job)
        if job.number.startswith(f"{array}_["):
            waiting.append(job)
    return exact or waiting


def _jobs(runs: Path, name: str) -> Iterator[Job]:
    """Yield every job of the submissions in ``runs/name``, oldest first."""
    known = cluster.jobs()
    files = list(runs.absolute().glob(f"{name}/*/{JOBS}"))
    # The name of a submission's folder is its date and time.
    files.sort(key=lambda file: file.parent.name)
    for file in files:
        for number in file.read_text("utf-8").split():
            yield from _of_submission(number, file.parent, known)


def _of_submission(
    number: str, folder: Path, known: Sequence[dict[str, str]]
) -> Iterator[Job]:
    """Yield a submitted job, or each task of its array that the controller knows.

    Args:
        number: that the submission was given.
        folder: of the submission.
        known: what the controller says of each job.
    """
    tasks: list[dict[str, str]] = []
    for fields in known:
        if number in (fields.get("ArrayJobId"), fields["JobId"]):
            tasks.append(fields)
    tasks.sort(key=_first_task)
    for fields in tasks:
        task = fields.get("ArrayTaskId", "")
        started = task.isdigit()
        yield Job(
            number=_number(number, task),
            name=fields["JobName"],
            state=fields["JobState"],
            reason=fields["Reason"],
            time=fields["RunTime"],
            restarts=fields.get("Restarts", "0"),
            # Of a waiting array, that of the submission.
            folder=(folder / task).resolve() if started else folder,
        )
    if not tasks:
        yield _forgotten(number, folder)


def _number(number: str, task: str) -> str:
    """Return ``17``, ``17_0`` of a task, or ``17_[0-2]`` of tasks that wait."""
    if not task:
        return number
    return f"{number}_{task}" if task.isdigit() else f"{number}_[{task}]"


def _forgotten(number: str, folder: Path) -> Job:
    """Return a job that the controller does not know any more.

    It drops ended jobs after some minutes; the accounting, if there is any, keeps them.
    """
    state = "ENDED"
    elapsed = ""
    with suppress(ValueError):
        columns = "State,Elapsed"
        told = cluster.call("sacct", "-n", "-X", "-P", "-j", number, "-o", columns)
        lines = told.splitlines()
        if lines:
            state, elapsed = lines[0].split("|")
    return Job(number, folder.parent.name, state, "", elapsed, "", folder)


def _first_task(fields: dict[str, str]) -> int:
    # "2-9,12%4" of tasks that wait
    return int(re.findall(r"\d+", fields.get("ArrayTaskId", "0"))[0])
