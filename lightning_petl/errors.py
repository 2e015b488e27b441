"""Which errors are a wrong value, to be told in one paragraph, and which are a bug, to be shown with a traceback."""

import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_petl.precision import PRECISIONS

PACKAGES = ("lightning_petl", "data_modules")
SWITCH = "LIGHTNING_PETL_TRACEBACK"

# What jsonargparse says about alternatives that nobody meant, and dumps of whole configurations.
_NOISE = re.compile(
    r"^(-\s*)?(Does not validate against|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>"
    r"|Expected a path but|Problem with given class_path)"
)
_OPTION = re.compile(
    r"class_path '(?P<path>[\w.]+)':\s+(Option '(?P<option>[\w.]+)' is not accepted|unrecognized arguments: --"
    r"(?P<argument>[\w.]+).*|Group '(?P<group>[\w.]+)' does not accept option '(?P<member>[\w.]+)')"
)
_REQUIRED = re.compile(r"the following arguments are required: (.+)")
_WAYS = {
    "data": "-c configs/data/NAME.yaml, or --data CLASS",
    "backbone": "-c configs/backbone/NAME.yaml",
    "adapters": "-c configs/adapters/NAME.yaml, or --model.adapters+=CLASS",
    "output": "--output FOLDER",
}
_LESS_MEMORY = (
    "Take a smaller data.batch_size: model.optim.global_batch keeps the updates of a classifier; the loss of "
    "VideoTextRetrieval compares the clips of a batch, so try --model.joint.block=64 and "
    "--model.backbone.activation_checkpointing=true first"
)
_WORKER_DIED = re.compile(r"^DataLoader worker \(pid")
_WORKER = re.compile(r"^Caught (\w+) in DataLoader worker process")


def told_to_the_user(error: BaseException, class_names: list[str]) -> str | None:
    """One paragraph for a wrong value, None for a bug.

    A wrong value is a configuration that does not parse, a file or folder that cannot be used, or what our own code
    raised by a ``raise``. With ``LIGHTNING_PETL_TRACEBACK=1`` nothing is.

    Args:
        error: what ended the command.
        class_names: what may stand where a configuration names a class.
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
        return _configuration(str(error), class_names)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    about_a_file = isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno is not None)
    return _one_line(str(error)) if about_a_file or isinstance(error, MisconfigurationException) else None


def goes_on_next_time(error: BaseException) -> bool:
    """Whether the same command would go on: a loader's worker was lost.

    Where its decode hung, the file is noted, and nobody tries it again. Another reason that comes back is ended by the
    rule of three starts without progress.
    """
    return any(_end_of_worker(link) for link in _chain(error))


def comes_again(error: BaseException) -> bool:
    """Whether nobody should start the same command again before something is changed, as after Ctrl-C."""
    told = told_to_the_user(error, []) is not None and not goes_on_next_time(error)
    return told or isinstance(error, KeyboardInterrupt) or getattr(error, "code", None) in (2, 130)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what it was raised from: jsonargparse wraps what constructors raise."""
    while error is not None:
        yield error
        error = error.__cause__


def _deliberate(error: BaseException) -> bool:
    """Whether a ``raise`` statement in our own packages raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not isinstance(error, ValueError | TypeError | OSError):
        return False
    ours = not set(Path(frames[-1].filename).parts).isdisjoint(PACKAGES)
    return ours and (frames[-1].line or "").startswith("raise ")


def _raised_in_worker(error: BaseException) -> str | None:
    """What a loader's worker process raised deliberately; torch keeps it as the text of a traceback."""
    lines = str(error).strip().splitlines()
    if not lines or not _WORKER.match(lines[0]):
        return None
    kind = _WORKER.match(lines[0]).group(1)  # pyright: ignore[reportOptionalMemberAccess]
    last_frame = max(number for number, line in enumerate(lines) if line.startswith('  File "'))
    ours = any(f"{package}/" in lines[last_frame] for package in PACKAGES)
    deliberate = ours and lines[last_frame + 1].strip().startswith("raise ")
    return "\n".join(lines[last_frame + 1 :]).split(f"{kind}: ", 1)[-1] if deliberate else None


def _end_of_worker(error: BaseException) -> str | None:
    """What is known of a worker process that ended: torch tells its number, the data module adds the file it read."""
    if not _WORKER_DIED.match(str(error)):
        return None
    way = "The same command goes on from the last checkpoint; where memory is out, take fewer data.num_workers"
    return " ".join([str(error), *getattr(error, "__notes__", []), way])


def _configuration(text: str, class_names: list[str]) -> str:
    """Which key is wrong and why, from jsonargparse's report on every alternative that it tried."""
    text = _OPTION.sub(_no_option, text)
    kept = [line.strip() for line in text.splitlines() if not _NOISE.match(line.strip())]
    kept = [line.removeprefix("- ") for line in kept if line]
    keys = [match.group(1) for line in kept if (match := re.search(r'Parser key "([^"]+)":', line))]
    reasons = [re.sub(r'.*Parser key "[^"]+":\s*', "", line) for line in kept]
    message = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
    message = _REQUIRED.sub(lambda m: _not_given(m[1].split(", "), keys), message)
    message = re.sub(r"Expected a dot import path string: (\w+)", lambda m: _no_class(m.group(1), class_names), message)
    if keys == ["trainer.precision"]:  # its type has names that we refuse
        message = f"choose one of {', '.join(PRECISIONS)}"
    return _one_line(f"{'.'.join(keys)}: {message}" if keys else message)


def _no_option(match: re.Match[str]) -> str:
    """The report's class, the option that nobody knows, and those that stand in its place."""
    key = match["option"] or match["argument"] or f"{match['group']}.{match['member']}"
    module, _, owner = match["path"].rpartition(".")
    options = _options(getattr(sys.modules[module], owner))
    for part in key.split(".")[:-1]:
        if not is_dataclass(options.get(part)):
            break
        owner, options = part, _options(cast(type, options[part]))
    return f"class_path '{match['path']}':\nOption {key!r} is not accepted; {owner} has {', '.join(options)}"


def _options(cls: type) -> dict[str, object]:
    """The named arguments of a class and their types, with those that it passes on to its bases."""
    own = [base for base in cls.__mro__ if base.__module__.startswith(PACKAGES)]
    parameters = [p for base in own if "__init__" in vars(base) for p in inspect.signature(base).parameters.values()]
    return {p.name: p.annotation for p in parameters if p.kind is not p.VAR_KEYWORD}


def _not_given(names: list[str], keys: list[str]) -> str:
    return "not given: " + ", ".join(f"{name} ({_WAYS.get(name, '--' + '.'.join([*keys, name]))})" for name in names)


def _no_class(name: str, class_names: list[str]) -> str:
    spelled = {known.lower(): known for known in class_names}
    near = [spelled[match] for match in get_close_matches(name.lower(), spelled, n=3)]
    valid = f"near: {', '.join(near)}" if near else f"known: {', '.join(class_names)}"
    return f"{name!r} is no known class; {valid}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
