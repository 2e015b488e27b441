"""Which errors are a wrong value, to be told in one paragraph, and which are a bug, to be shown with a traceback."""

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from lightning_petl.cli.parser_reports import Known, explained, unresolved

PACKAGES = ("lightning_petl", "data_modules")
_RAISE_FOR_USERS = (
    *PACKAGES,
    "lightning",
)  # Lightning's own are about the settings of its Trainer
SWITCH = "LIGHTNING_PETL_TRACEBACK"

_LESS_MEMORY = (
    "Take a smaller data.batch_size: model.optim.global_batch keeps the updates of a classifier; the loss of "
    "VideoTextRetrieval compares the clips of a batch, so try --model.joint.block=64 and "
    "--model.backbone.activation_checkpointing=true first"
)
_WORKER_DIED = re.compile(r"^DataLoader worker \(pid")
_WORKER = re.compile(r"^Caught (\w+) in DataLoader worker process")


def told_to_the_user(error: BaseException, known: Known | None = None) -> str | None:
    """Return one paragraph for a wrong value, None for a bug.

    A wrong value is a configuration that does not parse, a file or folder that cannot be used, or what our own code
    or Lightning's raised by a ``raise``. With ``LIGHTNING_PETL_TRACEBACK=1`` nothing is.

    Args:
        error: what ended the command.
        known: the names that would have been valid, to tell near ones.
    """
    if os.environ.get(SWITCH) == "1":
        return None
    for link in _chain(error):
        worker = _raised_in_worker(link) or _end_of_worker(link)
        if worker or _deliberate(link):
            return _one_line(worker or str(link))
    if isinstance(error, torch.OutOfMemoryError):
        return f"{_one_line(str(error))} {_LESS_MEMORY}"
    if isinstance(error, ArgumentError):
        return _one_line(explained(str(error), known or Known()))
    if isinstance(error, OmegaConfBaseException):
        return _one_line(unresolved(error, known or Known()))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    about_a_file = isinstance(error, FileNotFoundError) or (
        isinstance(error, OSError) and error.errno is not None
    )
    return (
        _one_line(str(error))
        if about_a_file or isinstance(error, MisconfigurationException)
        else None
    )


def goes_on_next_time(error: BaseException) -> bool:
    """Whether the same command would go on: a loader's worker was lost.

    Where its decode hung, the file is noted, and nobody tries it again. Another reason that comes back is ended by the
    rule of three starts without progress.
    """
    return any(_end_of_worker(link) for link in _chain(error))


def comes_again(error: BaseException) -> bool:
    """Whether nobody should start the same command again before something is changed, as after Ctrl-C."""
    told = told_to_the_user(error) is not None and not goes_on_next_time(error)
    return (
        told
        or isinstance(error, KeyboardInterrupt)
        or getattr(error, "code", None) in (2, 130)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what it was raised from: jsonargparse wraps what constructors raise."""
    while error is not None:
        yield error
        error = error.__cause__


def _deliberate(error: BaseException) -> bool:
    """Whether a ``raise`` statement in our own packages, or in Lightning's, raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not isinstance(error, ValueError | TypeError | OSError):
        return False
    ours = not set(Path(frames[-1].filename).parts).isdisjoint(_RAISE_FOR_USERS)
    return ours and (frames[-1].line or "").startswith("raise ")


def _raised_in_worker(error: BaseException) -> str | None:
    """What a loader's worker process raised deliberately; torch keeps it as the text of a traceback."""
    lines = str(error).strip().splitlines()
    if not lines or not _WORKER.match(lines[0]):
        return None
    kind = _WORKER.match(lines[0]).group(1)  # pyright: ignore[reportOptionalMemberAccess]
    last_frame = max(
        number for number, line in enumerate(lines) if line.startswith('  File "')
    )
    ours = any(f"{package}/" in lines[last_frame] for package in PACKAGES)
    deliberate = ours and lines[last_frame + 1].strip().startswith("raise ")
    return (
        "\n".join(lines[last_frame + 1 :]).split(f"{kind}: ", 1)[-1]
        if deliberate
        else None
    )


def _end_of_worker(error: BaseException) -> str | None:
    """What is known of a worker process that ended: torch tells its number, the data module adds the file it read."""
    if not _WORKER_DIED.match(str(error)):
        return None
    way = "The same command goes on from the last checkpoint; where memory is out, take fewer data.num_workers"
    return " ".join([str(error), *getattr(error, "__notes__", []), way])


def _one_line(text: str) -> str:
    return " ".join(text.split())
