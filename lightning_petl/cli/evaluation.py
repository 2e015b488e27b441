"""Which trained weights ``validate``, ``test`` and ``predict`` look at."""

import argparse
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_warn

from lightning_petl.cli import config_files, config_text
from lightning_petl.runs.folder import CHECKPOINTS, CONFIG, LAST, RECORD, content

COMMANDS = ("validate", "test", "predict")
TEMPERATURE = (
    "logit_scale"  # an owner; evaluation ranks by similarities without their scale
)
_WEIGHTS = ("untrained", "ckpt_path", "artifact")
_WAYS = "give --run_folder RUN for the best checkpoint of a run, --ckpt_path FILE, or --artifact FOLDER"


class Chosen(NamedTuple):
    """A checkpoint of a run, and why it is this one, as the user is told."""

    path: Path
    why: str


def best_checkpoint(run: Path) -> Chosen:
    """The best checkpoint of a run by the metric that it monitors; the last one where nothing was monitored.

    The newest checkpoint that can be read knows which one was best. The folder may have been moved since.

    Raises:
        ValueError: there is no checkpoint, none can be read, or the best one is gone or damaged.
    """
    whole = _readable(run)
    newest = max(
        whole, key=lambda path: (whole[path]["global_step"], path.name == LAST)
    )
    state = _monitored(whole[newest].get("callbacks", {}))
    if state is None:
        return Chosen(
            newest, f"the last one of {run}, in which no validation chose a best one"
        )
    best = run / CHECKPOINTS / Path(state["best_model_path"]).name
    score = f"{state['monitor']} {float(state['best_model_score']):.4g}"
    if best not in whole:
        raise ValueError(
            f"run_folder: the best checkpoint of {run}, {best.name} with {score}, is not there or cannot be read; "
            f"give another one, such as --ckpt_path {newest}"
        )
    return Chosen(
        best,
        f"the best one of {run}: {score} after update {whole[best]['global_step']}",
    )


def _readable(run: Path) -> dict[Path, dict[str, Any]]:
    found = {path: content(path) for path in sorted((run / CHECKPOINTS).glob("*.ckpt"))}
    whole = {path: state for path, state in found.items() if isinstance(state, dict)}
    why = "; ".join(
        f"{path}: {state}" for path, state in found.items() if path not in whole
    )
    if not whole:
        raise ValueError(
            f"run_folder: {run} holds no checkpoint{f' that can be read ({why})' if why else ''}; {_WAYS}"
        )
    if why:
        rank_zero_warn(
            f"not readable: {why}; the other checkpoints of {run} say which one is the best"
        )
    return whole


def _monitored(callbacks: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The state of the callback that keeps the best checkpoints, once it has kept one."""
    states = (
        state
        for state in callbacks.values()
        if isinstance(state, Mapping) and "best_model_path" in state
    )
    return next(
        (
            state
            for state in states
            if state.get("monitor") and state["best_model_path"]
        ),
        None,
    )


def run_of(config: Mapping[str, Any] | Namespace, flags: Container[str]) -> Path | None:
    """The run whose best checkpoint a command wants; None where it names other weights or no run.

    A run is named by ``--run_folder``, or by its own configuration file. That file also holds what the run began with
    (``ckpt_path``, ``artifact``) and where it was written; neither is what the command asks for.

    Args:
        config: of the command, with the files that it was read from.
        flags: the options of the command line, without values.

    Raises:
        ValueError: the command names two kinds of weights.
    """
    files = [Path(str(file)) for file in config["config"] or [] if file is not None]
    file = next((file for file in reversed(files) if is_run(file.parent)), None)
    own = {} if file is None else config_text.read(file.read_text("utf-8"))
    given = [key for key in (*_WEIGHTS, "run_folder") if config.get(key)]
    asked = [key for key in given if f"--{key}" in flags or config[key] != own.get(key)]
    weights = [key for key in asked if key in _WEIGHTS]
    if len(weights) > 1:
        raise ValueError(
            f"{' and '.join(f'{key}={config[key]}' for key in weights)} name different weights: leave one out"
        )
    if weights:
        return None
    if file is not None and "run_folder" not in asked:
        return file.parent
    return Path(config["run_folder"]) if config.get("run_folder") else None


def is_run(folder: Path) -> bool:
    """Whether ``fit`` has trained in a folder."""
    return (folder / RECORD).is_file() or (folder / CHECKPOINTS).is_dir()


def with_run(argv: list[str]) -> list[str]:
    """Put the run's own configuration in front where ``--run_folder`` is all that an evaluation is told.

    Raises:
        ValueError: the folder holds none.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (("--config", "-c"), ("--run_folder",), ("--artifact",)):
        parser.add_argument(*names, nargs="?", action="append", default=[])
    given = parser.parse_known_args(argv)[0]
    folder = given.run_folder[-1] if given.run_folder else None
    if argv[0] not in COMMANDS or folder is None or given.config or given.artifact:
        return argv
    own = Path(folder, CONFIG)
    if not own.is_file():
        raise ValueError(
            f"run_folder: {folder} holds no {CONFIG}: give the folder of a run that fit has trained in"
        )
    completed = [argv[0], f"--config={own}", *argv[1:]]  # a name may begin with a dash
    config_files.check(completed)
    return completed


def require_trained(command: str, owners: Iterable[str]) -> None:
    """Refuse to evaluate what would train and has not.

    A model in which nothing trains, such as a zero-shot classifier, is as it is meant to be; so is one of which only
    the temperature of its loss trains.

    Args:
        command: the user's.
        owners: of each parameter that trains.

    Raises:
        ValueError: something trains.
    """
    untrained = sorted(set(owners) - {TEMPERATURE})
    if untrained:
        names = ", ".join(untrained[:5]) + (
            f" and {len(untrained) - 5} more" if len(untrained) > 5 else ""
        )
        raise ValueError(
            f"{command}: no trained weights are given, and {names} would have initial values, which say nothing about "
            f"a training: {_WAYS}; --untrained=true evaluates initial values all the same"
        )
