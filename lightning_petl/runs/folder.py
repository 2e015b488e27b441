"""Keep one folder a run: lock it, note its starts, and find the checkpoint to resume from."""

import json
import os
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
from lightning_petl.runs.lock import lock
from lightning_petl.runs.logger import LoggedStep

LAST = "last.ckpt"
CHECKPOINTS = "checkpoints"
CONFIG = "config.yaml"
RECORD = "run.json"

# after so many starts at the same update the reason is not the cluster, and another would end like them
ATTEMPTS = 3

_LOCK = ".run.lock"

# bytes of run.json, which may come from anybody
_MOST_RECORD = 1 << 20


class ResumePoint(NamedTuple):
    """Hold where a run resumes.

    Attributes:
        path: of a checkpoint that can be read.
        step: the number of updates that it has behind it.
        row: what was logged at its step.
    """

    path: Path
    step: int
    row: LoggedStep | None


class RunFolder:
    """Hold a folder that one program at a time trains in; the same command on it resumes.

    The lock is one of the kernel: it ends with its process, however that ends. Rank 0 holds it and writes;
    other ranks only read.

    Args:
        path: created where it is missing.

    Attributes:
        id: of the run; every checkpoint of the run holds it.

    Raises:
        ValueError: another program trains in it, or something else left a checkpoint that Lightning would take.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        if leads():
            path.mkdir(parents=True, exist_ok=True)
            self._lock = lock(path / _LOCK, path)
            _remove_partial_files(path)
        # names under which Lightning saves when it requeues a SLURM job itself, and which it would load
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
        """Create ``root/version_<n>``, which no other program has."""
        return cls(new_version(root))

    def begin(self) -> ResumePoint | None:
        """Note a start, and return where to resume; None for a new run.

        Every rank finds the same checkpoints, because nothing is written before all ranks are there. Rank 0
        alone judges the starts: other ranks may read them before or after it has noted its own.

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
        """Take back the note of this start, for one that ended without a fault of the training."""
        self._note(self._before)

    def finished(self) -> None:
        """Note that training is finished: its starts count no more."""
        self._note([])

    def release(self) -> None:
        """Unlock the folder, and remove it where nothing was written to it."""
        if self._lock is None:
            return
        if {file.name for file in self.path.iterdir()} <= {_LOCK, RECORD}:
            for name in (_LOCK, RECORD):
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()
        os.close(self._lock)
        self._lock = None

    def _resume_point(self) -> ResumePoint | None:
        """Return the readable checkpoint with the most updates.

        Raises:
            ValueError: there are checkpoints but none can be read, or one is of another run.
        """
        whole: dict[Path, dict[str, Any]] = {}
        faults: list[str] = []
        for file in sorted((self.path / CHECKPOINTS).glob("*.ckpt")):
            found = content(file)
            if isinstance(found, str):
                faults.append(f"{file}: {found}")
            else:
                whole[file] = found
        damaged = "; ".join(faults)
        if not whole and not faults:
            return None
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

        def updates(file: Path) -> tuple[int, bool]:
            # of equal ones last.ckpt, which is written behind the others
            return whole[file]["global_step"], file.name == LAST

        best = max(whole, key=updates)
        step = whole[best]["global_step"]
        row = whole[best].get("row")
        if damaged:
            rank_zero_warn(
                f"not readable: {damaged}; going on from {best} at update {step} instead"
            )
        return ResumePoint(best, step, LoggedStep(*row) if row else None)

    def _note(self, starts: list[int]) -> None:
        if self._lock is None:
            return
        self._starts = starts
        record = json.dumps({"id": self.id, "starts": starts})
        write_whole(self.path / RECORD, record.encode())


def leads() -> bool:
    """Return whether this process is rank 0, before there is a process group.

    Lightning reads the number of the rank from the environment when it is imported.
    """
    return cast(Any, rank_zero_only).rank == 0


def content(file: Path) -> dict[str, Any] | str:
    """Return what a checkpoint holds, its tensors not yet read; or as text why it cannot be read."""
    try:
        return files.read(file, mapped=True)
    except (OSError, ValueError) as error:
        return str(error)


def new_version(root: Path) -> Path:
    """Create ``root/version_<n>`` behind the largest n that exists; two programs never get the same."""
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    for path in root.glob("version_*"):
        text = path.name.removeprefix("version_")
        if text.isdigit():
            number = max(number, int(text) + 1)
    # mkdir is atomic: another program may create the same folder between this look and it
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


def _remove_partial_files(folder: Path) -> None:
    """Remove files that a killed process has not finished writing."""
    # .*.tmp: of checkpoints in release 0.1.0.dev1
    for pattern in (".*.tmp", ".partial-*"):
        for file in folder.rglob(pattern):
            file.unlink()


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = read_json(folder / RECORD, most=_MOST_RECORD)
    except FileNotFoundError:
        return {}
    found = cast(dict[str, Any], record) if isinstance(record, dict) else {}
    has_id = isinstance(found.get("id"), str)
    if not has_id or not isinstance(found.get("starts"), list):
        raise ValueError(
            f"{folder / RECORD}: is not what a run writes there; put it back, or take another run_folder"
        )
    return found
