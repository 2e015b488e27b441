"""What a submission asks for: its tasks, its place in the queue, its time, and how a task starts."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d+){0,2})")
_INTERACTIVE = ("bash", "interactive")


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """Ask for one task a GPU, or for ``tasks_per_node`` tasks a node where training runs on CPUs.

    Args:
        nodes: number of nodes.
        gpus: GPUs of each node, the Trainer's devices; 0 trains on CPUs.
        tasks_per_node: processes of each node, where there are no GPUs to count.
        cpus_per_task: processors of a process; one and those of its loader's workers where not given.
        memory: memory of each node as SLURM writes it, such as 64G.
        gres: name of the GPUs, gpu or gpu:KIND.

    Raises:
        ValueError: a number is not positive, or both GPUs and tasks are counted.
    """

    nodes: int = 1
    gpus: int = 0
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    memory: str | None = None
    gres: str = "gpu"

    def __post_init__(self) -> None:
        for name in ("nodes", "tasks_per_node", "cpus_per_task"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.gpus < 0:
            raise ValueError(
                f"gpus must be 0 (train on CPUs) or more, not {self.gpus}"
            )
        if self.gpus and self.tasks_per_node not in (None, self.gpus):
            raise ValueError(
                f"{self.gpus} GPUs a node make as many tasks, not {self.tasks_per_node}; leave tasks_per_node out"
            )

    @property
    def per_node(self) -> int:
        """Tasks of each node."""
        return self.gpus or self.tasks_per_node or 1


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Say where a job waits.

    Args:
        partition: partition of the cluster; its default one where not given.
        account: what the hours are charged to.
        qos: quality of service.
        constraint: features that the nodes must have.
        after: numbers of jobs that must succeed before, as 17,18.
        sbatch: any other options of sbatch, such as --exclusive.

    Raises:
        ValueError: a number of a job is none.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    after: str | None = None
    sbatch: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.after is not None and not re.fullmatch(r"\d+(,\d+)*", self.after):
            raise ValueError(
                f"after {self.after!r}: numbers of jobs with commas between them, as status shows them"
            )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Say how long a job runs at a time.

    Args:
        time: limit as SLURM writes it: minutes, hours:minutes:seconds, days-hours:minutes:seconds.
        notice: seconds before the limit at which the tasks are told to write a checkpoint.
        requeue: whether an interrupted job goes back into the queue by itself.
        chain: jobs one after another that go on with the same run; for clusters that do not requeue.

    Raises:
        ValueError: the time is malformed or zero, or over before the notice, or a chain has no job.
    """

    time: str
    notice: int = 120
    requeue: bool = True
    chain: int = 1

    def __post_init__(self) -> None:
        for name in ("notice", "chain"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, not {getattr(self, name)}"
                )
        if seconds(self.time) <= self.notice:
            raise ValueError(
                f"time {self.time} must be longer than the notice of {self.notice} seconds before its end"
            )


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Say how a task starts.

    Args:
        python: the interpreter, on the nodes or in the container.
        setup: lines of bash before the tasks start, such as module load cuda.
        srun: more options of srun, such as --container-image=IMAGE.
        container: what a task's command is prefixed with, such as apptainer exec --nv IMAGE.
        wait: seconds that the others are given once a task has ended: a lost one must not hold the job. 0: for ever.

    Raises:
        ValueError: ``wait`` is negative.
    """

    python: str = sys.executable
    setup: Sequence[str] = ()
    srun: Sequence[str] = ()
    container: str = ""
    wait: int = 300

    def __post_init__(self) -> None:
        if self.wait < 0:
            raise ValueError(
                f"wait must be 0 (for ever) or more seconds, not {self.wait}"
            )


@dataclass(frozen=True, kw_only=True)
class Request:
    """Hold all that is asked for, under the name that the queue shows.

    Raises:
        ValueError: Lightning takes a job of that name for a shell, or it is no name of a folder.
    """

    name: str
    tasks: Tasks = field(default_factory=Tasks)
    queue: Queue = field(default_factory=Queue)
    limits: Limits
    launch: Launch = field(default_factory=Launch)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise ValueError(
                f"name {self.name!r}: letters, digits and . _ + - only, it names a folder and a job"
            )
        if self.name in _INTERACTIVE:
            raise ValueError(
                f"name {self.name!r} is what SLURM calls an interactive shell; choose another one"
            )


def seconds(time: str) -> int:
    """Return a time limit, written in one of SLURM's forms, in seconds.

    ``minutes``, ``minutes:seconds``, ``hours:minutes:seconds``, ``days-hours``, ``days-hours:minutes`` and
    ``days-hours:minutes:seconds``.

    Raises:
        ValueError: it has none of these forms.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        raise ValueError(
            f"time {time!r} is not MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES:SECONDS"
        )
    parts = [int(part) for part in match["clock"].split(":")]
    if match["days"] is not None:
        hours, minutes, rest = parts + [0] * (3 - len(parts))
        return ((int(match["days"]) * 24 + hours) * 60 + minutes) * 60 + rest
    hours, minutes, rest = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return (hours * 60 + minutes) * 60 + rest
