"""Find the trained weights that ``validate``, ``test`` and ``predict`` evaluate."""

import argparse
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_warn

from lightning_petl.cli import config_files, config_text
from lightning_petl.runs.folder import CHECKPOINTS, CONFIG, LAST, RECORD, content

COMMANDS = ("validate", "test", "predict")
# An owner of parameters; evaluation ranks by similarities without their scale.
TEMPERATURE = "logit_scale"
_LISTED = 5  # owners in one message: a bank has many
_WEIGHTS = ("untrained", "ckpt_path", "artifact")
_WAYS = (
    "give --run_folder RUN for the best checkpoint "
    "of a run, --ckpt_path FILE, or --artifact FOLDER"
)


class Chosen(NamedTuple):
    """Hold a checkpoint of a run and the words that tell the user why it is this one.

    Attributes:
        path: of the checkpoint.
        why: it is this one.
        monitor: the metric by which it is the best; None where nothing was monitored.
        score: by that metric.
    """

    path: Path
    why: str
    monitor: str | None = None
    score: float | None = None


def best_checkpoint(run: Path) -> Chosen:
    """Return the best checkpoint of a run by the metric that it monitors; the last one where nothing was monitored.

    The newest checkpoint that can be read knows which one was best. The folder may have been moved since.

    Raises:
        ValueError: there is no checkpoint, none can be read, or the best one is gone or damaged.
    """
    whole = _readable(run)
    newest = _newest(whole)
    state = _monitored(whole[newest].get("callbacks", {}))
    if state is None:
        why = f"the last one of {run}, in which no validation chose a best one"
        return Chosen(newest, why)
    # By its name alone: the path is that of the training, and the run may have been moved.
    best = run / CHECKPOINTS / Path(state["best_model_path"]).name
    value = float(state["best_model_score"])
    score = f"{state['monitor']} {value:.4g}"
    if best not in whole:
        raise ValueError(
            f"run_folder: the best checkpoint of {run}, {best.name} "
            f"with {score}, is not there or cannot be read; "
            f"give another one, such as --ckpt_path {newest}"
        )
    step = whole[best]["global_step"]
    why = f"the best one of {run}: {score} after update {step}"
    return Chosen(best, why, state["monitor"], value)


def _newest(states: Mapping[Path, Mapping[str, Any]]) -> Path:
    def age(path: Path) -> tuple[int, bool]:
        # Of two after the same update, last.ckpt was written later.
        return states[path]["global_step"], path.name == LAST

    return max(states, key=age)


def _readable(run: Path) -> dict[Path, dict[str, Any]]:
    """Return the checkpoints of a run that can be read, with their content; warn of the others.

    Raises:
        ValueError: there is none.
    """
    whole: dict[Path, dict[str, Any]] = {}
    faults: list[str] = []
    for path in sorted((run / CHECKPOINTS).glob("*.ckpt")):
        state = content(path)
        if isinstance(state, dict):
            whole[path] = state
        else:
            faults.append(f"{path}: {state}")
    why = "; ".join(faults)
    if not whole:
        reason = f" that can be read ({why})" if why else ""
        raise ValueError(f"run_folder: {run} holds no checkpoint{reason}; {_WAYS}")
    if why:
        rank_zero_warn(
            f"not readable: {why}; the other checkpoints "
            f"of {run} say which one is the best"
        )
    return whole


def _monitored(callbacks: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the state of the callback that keeps the best checkpoints, once it has kept one."""
    for state in callbacks.values():
        if not isinstance(state, Mapping):
            continue
        found = cast(Mapping[str, Any], state)
        # Its path is empty until the first validation has ended.
        if found.get("monitor") and found.get("best_model_path"):
            return found
    return None


def run_of(
    config: Mapping[str, Any] | Namespace, flags: Container[str]
) -> Path | None:
    """Return the run whose best checkpoint a command wants; None where it names other weights or no run.

    A run is named by ``--run_folder``, or by its own configuration file. That file also holds what the run began with
    (``ckpt_path``, ``artifact``) and where it was written; neither is what the command asks for.

    Args:
        config: of the command, with the files that it was read from.
        flags: the options of the command line, without values.

    Raises:
        ValueError: the command names two kinds of weights.
    """
    file = _config_of_run(config["config"] or [])
    own = {} if file is None else config_text.read(file.read_text("utf-8"))
    given = [key for key in (*_WEIGHTS, "run_folder") if config.get(key)]
    asked = [
        key for key in given if f"--{key}" in flags or config[key] != own.get(key)
    ]
    weights = [key for key in asked if key in _WEIGHTS]
    if len(weights) > 1:
        ways = " and ".join(f"{key}={config[key]}" for key in weights)
        raise ValueError(f"{ways} name different weights: leave one out")
    if weights:
        return None
    if file is not None and "run_folder" not in asked:
        return file.parent
    return Path(config["run_folder"]) if config.get("run_folder") else None


def _config_of_run(files: Iterable[object]) -> Path | None:
    """Return the last configuration file of a command that lies in the folder of a run."""
    found: Path | None = None
    for name in files:
        # None stands for a configuration that was given as text, as that of an artifact is.
        if name is not None and is_run(Path(str(name)).parent):
            found = Path(str(name))
    return found


def is_run(folder: Path) -> bool:
    """Return whether ``fit`` has trained in a folder."""
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
            f"run_folder: {folder} holds no {CONFIG}: give "
            "the folder of a run that fit has trained in"
        )
    # With "=", for a name may begin with a dash.
    completed = [argv[0], f"--config={own}", *argv[1:]]
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
        names = ", ".join(untrained[:_LISTED])
        if len(untrained) > _LISTED:
            names += f" and {len(untrained) - _LISTED} more"
        raise ValueError(
            f"{command}: no trained weights are given, and {names} "
            "would have initial values, which say nothing about "
            f"a training: {_WAYS}; --untrained=true "
            "evaluates initial values all the same"
        )
