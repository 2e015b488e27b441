"""Calls of SLURM's own programs, and what they tell about jobs and partitions."""

import re
import subprocess
from pathlib import Path

_FIELD = re.compile(r"(\S+?)=(.*?)(?=\s+[\w/:&.]+=|\s*$)")


def call(*command: str, text: str | None = None) -> str:
    """What a program of SLURM prints, given ``text`` to read.

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
        raise ValueError(f"{command[0]}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout


def jobs() -> list[dict[str, str]]:
    """The fields of every job that the controller still knows; a waiting array is one job."""
    return [_fields(line) for line in call("scontrol", "show", "job", "-o").splitlines() if line.startswith("JobId=")]


def partitions() -> dict[str, dict[str, str]]:
    """The fields of every partition, by name."""
    lines = call("scontrol", "show", "partition", "-o").splitlines()
    return {fields["PartitionName"]: fields for line in lines if (fields := _fields(line))}


def check(script: str) -> None:
    """Refuse what no node of the cluster could ever run; sbatch proper may let it wait for ever."""
    call("sbatch", "--test-only", text=script)


def sbatch(script: Path) -> str:
    """Submit a script; its job number."""
    return call("sbatch", "--parsable", str(script)).strip().split(";")[0]  # a federation appends its cluster


def _fields(line: str) -> dict[str, str]:
    return dict(_FIELD.findall(line))
