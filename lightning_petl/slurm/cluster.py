"""Calls of SLURM's own programs, and what they tell about jobs and partitions."""

import re
import subprocess
from pathlib import Path

_FIELD = re.compile(r"(\S+?)=(.*?)(?=\s+[\w/:&.]+=|\s*$)")

FAILED = frozenset(
    {
        "FAILED",
        "CANCELLED",
        "TIMEOUT",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "BOOT_FAIL",
        "DEADLINE",
        "PREEMPTED",
    }
)
"""States in which a job has ended without success."""


def call(*command: str, text: str | None = None) -> str:
    """Run a program of SLURM, with ``text`` on its stdin, and return what it prints.

    Raises:
        ValueError: there is no such program, or it refuses.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError(
            f"{command[0]} is not on the PATH: this command runs where SLURM's clients are, as on a login node; "
            "submit --dry-run prints the script anywhere"
        ) from None
    if done.returncode:
        raise ValueError(
            f"{command[0]}: {' '.join((done.stderr or done.stdout).split())}"
        )
    return done.stdout


def jobs() -> list[dict[str, str]]:
    """Return the fields of every job that the controller still knows; a waiting array is one job."""
    return [
        _fields(line)
        for line in call("scontrol", "show", "job", "-o").splitlines()
        if line.startswith("JobId=")
    ]


def partitions() -> dict[str, dict[str, str]]:
    """Return the fields of every partition, by name."""
    lines = call("scontrol", "show", "partition", "-o").splitlines()
    return {
        fields["PartitionName"]: fields
        for line in lines
        if (fields := _fields(line))
    }


def chosen_partition(name: str | None) -> tuple[str, dict[str, str]]:
    """Return the name and the fields of a partition; of the default one where no name is given.

    Raises:
        ValueError: there is none.
    """
    known = partitions()
    name = name or next(
        (
            partition
            for partition, given in known.items()
            if given.get("Default") == "YES"
        ),
        None,
    )
    if name is None:
        raise ValueError(
            f"partition: the cluster has no default one; it has {', '.join(known)}"
        )
    if name not in known:
        raise ValueError(
            f"partition {name!r} is unknown; the cluster has {', '.join(known)}"
        )
    return name, known[name]


def check(script: str) -> None:
    """Refuse what no node of the cluster could ever run; sbatch proper may let it wait for ever."""
    call("sbatch", "--test-only", text=script)


def sbatch(script: Path) -> str:
    """Submit a script; its job number."""
    return (
        call("sbatch", "--parsable", str(script)).strip().split(";")[0]
    )  # a federation appends its cluster


def _fields(line: str) -> dict[str, str]:
    return dict(_FIELD.findall(line))
