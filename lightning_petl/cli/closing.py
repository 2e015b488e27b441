"""Tell at the end of a training where everything is, and which commands go on from there."""

from pathlib import Path
from shlex import quote

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn

from data_modules.io.names import visible
from lightning_petl.callbacks.outputs.artifact_writer import BEST, ArtifactWriter
from lightning_petl.callbacks.outputs.artifact_writer import LAST as LAST_STEP
from lightning_petl.callbacks.outputs.predictions import SCORES
from lightning_petl.runs.folder import CHECKPOINTS, CONFIG, LAST
from lightning_petl.runs.test_results import keep_with_run

_ARTIFACT = "adapter_config.json"
_MEMBERS = "members"


def finished(folder: Path, trainer: Trainer) -> str:
    """Return the paragraph for a training that came to its end."""
    best = _best(folder, trainer)
    last = folder / CHECKPOINTS / LAST
    lines = [
        f"finished after update {trainer.global_step}; everything is in {folder}"
    ]
    if best is not None:
        lines.append(f"  best:       {best}")
    if last.is_file():
        lines.append(f"  last:       {last}")
    artifacts = _artifacts(folder)
    for path in artifacts:
        lines.append(f"  artifact:   {path} ({_step_of(path, trainer)})")
    if (folder / _MEMBERS).is_dir():
        lines.append(f"  members:    {folder / _MEMBERS}, each with its artifacts")
    return "\n".join([*lines, *_next(folder, artifacts)])


def _artifacts(folder: Path) -> list[Path]:
    """Return the artifacts of a run, that of the best checkpoint first."""
    found: list[Path] = []
    for name in (BEST, LAST_STEP):
        # The folder may be there and empty, where writing it was stopped.
        if (folder / name / _ARTIFACT).is_file():
            found.append(folder / name)
    return found


def _next(folder: Path, artifacts: list[Path]) -> list[str]:
    """Return the commands that use what was trained."""
    run = _for_shell(folder)
    lines = ["next:", f"  lightning-petl test --run_folder {run}"]
    if artifacts:
        # The first is that of the best checkpoint.
        artifact = _for_shell(artifacts[0])
        lines.append(
            f"  lightning-petl predict --artifact {artifact} --data.predict_path VIDEO"
        )
    lines.append(f"  tensorboard --logdir {run}")
    lines.append(f"  {_go_on(folder)} --trainer.max_epochs MORE")
    return lines


def tested(folder: Path, run: Path | None) -> None:
    """Print where the scores of a test are, and keep them with the run whose weights it had.

    Args:
        folder: of the test.
        run: of the training; None where the weights are of no run.
    """
    scores = folder / SCORES
    if scores.is_file():  # a bank and a retrieval write others
        print(f"written to {visible(str(scores))}", flush=True)
    if run is None:
        return
    try:
        kept = keep_with_run(folder, run)
    except OSError as error:
        # such as the folder of a colleague: the results are in that of the test
        rank_zero_warn(f"the results are not in {run}, but in {folder}: {error}")
        return
    if kept:
        command = f"lightning-petl compare {_for_shell(run)} OTHER_RUN"
        print(f"and with the run, for {visible(command)}", flush=True)


def interrupted(folder: Path) -> str:
    """Return how to go on with a training that was stopped on the way."""
    last = folder / CHECKPOINTS / LAST
    if not last.is_file():
        return (
            "stopped before a checkpoint was written "
            f"in {folder}: the same command begins again"
        )
    return f"{last} holds what was reached; go on with:\n  {_go_on(folder)}"


def _best(folder: Path, trainer: Trainer) -> str | None:
    """Return the best checkpoint with its score, or None if there is none."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            # By its name alone: after a resume the callback may know an earlier place.
            path = folder / CHECKPOINTS / Path(callback.best_model_path).name
            score = callback.best_model_score
            if score is None:
                return str(path)
            return f"{path} ({callback.monitor} {float(score):.4g})"
    return None


def _step_of(artifact: Path, trainer: Trainer) -> str:
    """Say in words of which step an artifact is."""
    # Lightning 2.6 sets the attribute by name, where type checkers do not see it.
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    for callback in callbacks:
        is_writer = isinstance(callback, ArtifactWriter)
        if is_writer and callback.has_best and artifact.name == BEST:
            return "of the best checkpoint"
    return "of the last step"


def _go_on(folder: Path) -> str:
    config = _for_shell(folder / CONFIG)
    return f"lightning-petl fit -c {config} --run_folder {_for_shell(folder)}"


def _for_shell(path: Path) -> str:
    """Return a path as a shell reads it back."""
    # One that begins with a dash would be read as an option.
    return quote(f"./{path}" if str(path).startswith("-") else str(path))
