"""Decide which errors are a wrong value, told in one paragraph, and which are a bug, shown with a traceback."""

import dis
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from jsonargparse import ArgumentError
from omegaconf.errors import OmegaConfBaseException

from lightning_petl.cli.parser_reports import Known, explained, unresolved
from lightning_petl.runs.signals import PREEMPTED

PACKAGES = ("lightning_petl", "data_modules")
# Lightning raises about the settings of its Trainer.
_RAISE_FOR_USERS = {*PACKAGES, "lightning"}
SWITCH = "LIGHTNING_PETL_TRACEBACK"

_LESS_MEMORY = (
    "Take a smaller data.batch_size: model.optim.global_batch "
    "keeps the updates of a classifier; the loss of "
    "VideoTextRetrieval compares the clips of "
    "a batch, so try --model.joint.block=64 and "
    "--model.backbone.activation_checkpointing=true first"
)
_WORKER_DIED = re.compile(r"^DataLoader worker \(pid")
_WORKER = re.compile(r"^Caught (\w+) in DataLoader worker process")


def tell(error: Exception, argv: list[str]) -> int:
    """Print a wrong value as one paragraph and return the exit code; raise a bug again.

    Args:
        error: what ended the command.
        argv: the command line, for names that would have been valid.
    """
    code = getattr(error, "exit_code", None)
    if code is not None:
        print(f"lightning-petl: {error}", file=sys.stderr)
        return code
    message = told_to_the_user(error, _known(error, argv))
    if message is None:
        # Python prints its traceback and ends with code 1.
        raise error
    print(f"lightning-petl: {_visible(message)}", file=sys.stderr)
    return PREEMPTED if goes_on_next_time(error) else 2


def _known(error: Exception, argv: list[str]) -> Known:
    """Return the names that are valid in a configuration; only its parser's reports need them."""
    if not any(isinstance(link, _OF_CONFIGURATIONS) for link in _chain(error)):
        return Known()
    # Imported late: it needs torch, which the command has imported by now.
    from lightning_petl.cli.known import known

    return known(argv)


_OF_CONFIGURATIONS = (ArgumentError, OmegaConfBaseException)


def _visible(message: str) -> str:
    """Return a message with control characters as escapes, where a name of a user's may hold some."""
    # A command that has not imported data_modules has no torch either, and importing it
    # only for a message would take seconds.
    if "data_modules" not in sys.modules:
        return message
    from data_modules.io.names import visible

    return visible(message)


def told_to_the_user(
    error: BaseException, known: Known | None = None
) -> str | None:
    """Return one paragraph for a wrong value, None for a bug.

    A wrong value is a configuration that does not parse, a file or folder that cannot be
    used, or what a ``raise`` statement of our packages or of Lightning raised. With
    ``LIGHTNING_PETL_TRACEBACK=1`` nothing is.

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
    if _is(error, "torch", "OutOfMemoryError"):
        return f"{_one_line(str(error))} {_LESS_MEMORY}"
    if isinstance(error, ArgumentError):
        return _one_line(explained(str(error), known or Known()))
    if isinstance(error, OmegaConfBaseException):
        return _one_line(unresolved(error, known or Known()))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return _one_line(str(error)) if _is_about_settings(error) else None


def _is_about_settings(error: BaseException) -> bool:
    """Return whether a file or a setting of the Trainer is wrong."""
    if isinstance(error, FileNotFoundError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return True
    exceptions = "lightning.fabric.utilities.exceptions"
    return _is(error, exceptions, "MisconfigurationException")


def _is(error: BaseException, module: str, name: str) -> bool:
    """Return whether an error is of a class whose module may not have been imported."""
    kind: Any = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)


def goes_on_next_time(error: BaseException) -> bool:
    """Return whether the same command would go on, because a worker of the loader was lost.

    Where its decode hung, the file is noted, and nobody tries it again. Another reason that
    comes back is ended by the rule of three starts without progress.
    """
    return any(_end_of_worker(link) for link in _chain(error))


def comes_again(error: BaseException) -> bool:
    """Return whether the same command is useless before something is changed, as after Ctrl-C."""
    told = told_to_the_user(error) is not None and not goes_on_next_time(error)
    code = getattr(error, "code", None)
    return told or isinstance(error, KeyboardInterrupt) or code in (2, 130)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, then what it was raised from: jsonargparse wraps what constructors raise."""
    while error is not None:
        yield error
        error = error.__cause__


def _deliberate(error: BaseException) -> bool:
    """Return whether a ``raise`` statement of our own packages, or of Lightning's, raised it."""
    last = _last(error.__traceback__)
    if last is None or not isinstance(error, ValueError | TypeError | OSError):
        return False
    code = last.tb_frame.f_code
    # The instruction and not the text: an installation may have no source files.
    raises = dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
    parts = set(Path(code.co_filename).parts)
    return raises and not parts.isdisjoint(_RAISE_FOR_USERS)


def _last(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _raised_in_worker(error: BaseException) -> str | None:
    """Return what a loader's worker process raised deliberately; torch keeps it as the text of a traceback."""
    lines = str(error).strip().splitlines()
    if not lines or not _WORKER.match(lines[0]):
        return None
    kind = _WORKER.match(lines[0]).group(1)  # pyright: ignore[reportOptionalMemberAccess]
    last_frame = _last_frame(lines)
    ours = any(f"{package}/" in lines[last_frame] for package in PACKAGES)
    # The line of source below the frame: an exception of a worker comes as text alone.
    if not ours or not lines[last_frame + 1].strip().startswith("raise "):
        return None
    rest = "\n".join(lines[last_frame + 1 :])
    return rest.split(f"{kind}: ", 1)[-1]


def _last_frame(lines: list[str]) -> int:
    """Return the number of the line that names the innermost frame of a traceback."""
    return max(i for i, line in enumerate(lines) if line.startswith('  File "'))


def _end_of_worker(error: BaseException) -> str | None:
    """Return what is known of a worker process that ended, None for another error.

    torch tells its process number, and the data module adds the file that it read.
    """
    if not _WORKER_DIED.match(str(error)):
        return None
    way = (
        "The same command goes on from the last checkpoint; "
        "where memory is out, take fewer data.num_workers"
    )
    return " ".join([str(error), *getattr(error, "__notes__", []), way])


def _one_line(text: str) -> str:
    return " ".join(text.split())
