"""One folder a run: who owns it, what it was started with, and which of its checkpoints to go on from."""

import fcntl
import json
import os
import socket
import uuid
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from data_modules.io.atomic import write_whole
from data_modules.io.untrusted import read_json
from lightning_petl.checkpoints import files
from lightning_petl.runs.logger import Row

LAST = "last.ckpt"
CHECKPOINTS = "checkpoints"
CONFIG = "config.yaml"
ATTEMPTS = 3
RECORD = "run.json"
_LOCK = ".run.lock"
_MOST_RECORD = 1 << 20  # bytes


class ResumePoint(NamedTuple):
    """A whole checkpoint, the update it stands behind, and what was logged at its step."""

    path: Path
    step: int
    row: Row | None


class RunFolder:
    """A folder that one program at a time trains in; the same command on the same folder goes on.

    The lock is the kernel's: it ends with its owner, however that ends. Other ranks only read.

    Args:
        path: made where it is missing.

    Attributes:
        id: of the run; every checkpoint of it holds it.

    Raises:
        ValueError: another program trains in it, or something else left a checkpoint that Lightning would take.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        if leads():
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path / _LOCK, path)
            for file in [
                *path.rglob(".*.tmp"),
                *path.rglob(".partial-*"),
            ]:  # of a process that was killed
                file.unlink()
        foreign = sorted(path.glob("hpc_ckpt_*"))
        if foreign:
            raise ValueError(
                f"{foreign[0]} is not of this program, but would be resumed under SLURM: remove it"
            )
        record = _record(path)
        self.id: str = record.get("id") or uuid.uuid4().hex
        self._starts: list[int] = record.get("starts", [])
        self._before = self._starts

    @classmethod
    def new(cls, root: Path) -> "RunFolder":
        """``root/version_<n>``, which nobody else has."""
        return cls(new_version(root))

    def begin(self) -> ResumePoint | None:
        """Note a start; where to go on from, None at the beginning.

        Every rank finds the same, for nothing is written before all are there. The first rank alone judges the starts:
        the others may read them before or after it has noted its own.

        Raises:
            ValueError: no checkpoint can be read, one is of another run, or the last starts came no further.
        """
        point = self._resume_point()
        step = point.step if point else 0
        if leads() and self._starts[-ATTEMPTS:] == [step] * ATTEMPTS:
            raise ValueError(
                f"{self.path} was started {ATTEMPTS} times at update {step} and came no further; once the reason is "
                f"gone, delete {self.path / RECORD}'s list of starts to try again"
            )
        self._note([*self._starts, step])
        return point

    def withdraw(self) -> None:
        """Take the note of this start back."""
        self._note(self._before)

    def finished(self) -> None:
        """Note that training came to its end."""
        self._note([])

    def release(self) -> None:
        """Let others have the folder; where nothing was written, there is none."""
        if self._lock is None:
            return
        if {file.name for file in self.path.iterdir()} <= {_LOCK, RECORD}:
            for name in (_LOCK, RECORD):
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()
        os.close(self._lock)
        self._lock = None

    def _resume_point(self) -> ResumePoint | None:
        found = {
            file: content(file)
            for file in sorted((self.path / CHECKPOINTS).glob("*.ckpt"))
        }
        if not found:
            return None
        whole = {
            file: state for file, state in found.items() if isinstance(state, dict)
        }
        damaged = "; ".join(
            f"{file}: {why}" for file, why in found.items() if isinstance(why, str)
        )
        if not whole:
            raise ValueError(
                f"{self.path}: none of its checkpoints can be read ({damaged}), and a run does not start again by "
                "itself: put one back, or take another run_folder"
            )
        for file, state in whole.items():
            if state.get("run", self.id) != self.id:
                raise ValueError(
                    f"{file} belongs to another run than {self.path}: remove it, or give it as --ckpt_path"
                )
        best = max(
            whole, key=lambda file: (whole[file]["global_step"], file.name == LAST)
        )
        step, row = whole[best]["global_step"], whole[best].get("row")
        if damaged:
            rank_zero_warn(
                f"not readable: {damaged}; going on from {best} at update {step} instead"
            )
        return ResumePoint(best, step, Row(*row) if row else None)

    def _note(self, starts: list[int]) -> None:
        if self._lock is not None:
            self._starts = starts
            write_whole(
                self.path / RECORD,
                json.dumps({"id": self.id, "starts": starts}).encode(),
            )


def leads() -> bool:
    """Whether this process is rank zero, as its environment says before there are others to ask."""
    return cast(Any, rank_zero_only).rank == 0


def content(file: Path) -> dict[str, Any] | str:
    """Of a checkpoint, its tensors not yet read; or why it cannot be read."""
    try:
        return files.read(file, mapped=True)
    except (OSError, ValueError) as error:
        return str(error)


def new_version(root: Path) -> Path:
    """Make ``root/version_<n>`` with the first n that nobody has; two programs never get the same."""
    root.mkdir(parents=True, exist_ok=True)
    numbers = [path.name.removeprefix("version_") for path in root.glob("version_*")]
    number = max((int(text) for text in numbers if text.isdigit()), default=-1) + 1
    while True:
        folder = root / f"version_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of this run. It is right on rank 0, which writes.

    ``Trainer.log_dir`` broadcasts it from rank 0: to ask for that on one rank alone hangs the run.
    """
    folder = trainer.logger.log_dir if trainer.logger else None
    return Path(folder or trainer.default_root_dir)


def _lock(path: Path, folder: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 1000).decode(errors="replace").strip()
        os.close(descriptor)
        raise ValueError(
            f"{folder} is in use by {owner}: wait for it, end it, or take another run_folder"
        ) from None
    except OSError as error:
        rank_zero_warn(
            f"{folder}: this file system has no locks ({error}); start no second program in it"
        )
    job = os.environ.get("SLURM_JOB_ID")
    owner = f"process {os.getpid()} on {socket.gethostname()}{f', job {job}' if job else ''}"
    os.ftruncate(descriptor, 0)
    os.write(descriptor, owner.encode())
    return descriptor


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = read_json(folder / RECORD, most=_MOST_RECORD)
    except FileNotFoundError:
        return {}
    right = isinstance(record, dict) and isinstance(
        cast(dict[str, Any], record).get("id"), str
    )
    if not right or not isinstance(record.get("starts"), list):
        raise ValueError(
            f"{folder / RECORD}: is not what a run writes there; put it back, or take another run_folder"
        )
    return cast(dict[str, Any], record)
