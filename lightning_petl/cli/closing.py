"""What is said at the end of a training: where everything lies, and the commands that go on from there."""

from pathlib import Path
from shlex import quote

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_petl.callbacks.outputs.artifact_writer import BEST, ArtifactWriter
from lightning_petl.callbacks.outputs.artifact_writer import LAST as LAST_STEP
from lightning_petl.runs.folder import CHECKPOINTS, CONFIG, LAST

_ARTIFACT = "adapter_config.json"
_MEMBERS = "members"


def finished(folder: Path, trainer: Trainer) -> str:
    """Return the paragraph for a training that came to its end."""
    best = _best(folder, trainer)
    last = folder / CHECKPOINTS / LAST
    lines = [f"finished after update {trainer.global_step}; everything is in {folder}"]
    if best is not None:
        lines.append(f"  best:       {best}")
    if last.is_file():
        lines.append(f"  last:       {last}")
    artifacts = [
        folder / name
        for name in (BEST, LAST_STEP)
        if (folder / name / _ARTIFACT).is_file()
    ]
    lines += [f"  artifact:   {path} ({_step_of(path, trainer)})" for path in artifacts]
    if (folder / _MEMBERS).is_dir():
        lines.append(f"  members:    {folder / _MEMBERS}, each with its artifacts")
    return "\n".join([*lines, *_next(folder, artifacts)])


def _next(folder: Path, artifacts: list[Path]) -> list[str]:
    """The commands that use what was trained; the artifact of the best checkpoint is the first."""
    lines = ["next:", f"  lightning-petl test --run_folder {_said(folder)}"]
    if artifacts:
        lines.append(
            f"  lightning-petl predict --artifact {_said(artifacts[0])} --data.predict_path VIDEO"
        )
    lines.append(f"  tensorboard --logdir {_said(folder)}")
    lines.append(f"  {_go_on(folder)} --trainer.max_epochs MORE")
    return lines


def interrupted(folder: Path) -> str:
    """Return how to go on with a training that was stopped on the way."""
    if not (folder / CHECKPOINTS / LAST).is_file():
        return f"stopped before a checkpoint was written in {folder}: the same command begins again"
    return f"{folder / CHECKPOINTS / LAST} holds what was reached; go on with:\n  {_go_on(folder)}"


def _best(folder: Path, trainer: Trainer) -> str | None:
    """The best checkpoint, if there is one, with its score."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
            path = folder / CHECKPOINTS / Path(callback.best_model_path).name
            score = callback.best_model_score
            return (
                f"{path}"
                if score is None
                else f"{path} ({callback.monitor} {float(score):.4g})"
            )
    return None


def _step_of(artifact: Path, trainer: Trainer) -> str:
    """Of which step an artifact is, in words."""
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]  # set by name
    has_best = any(
        isinstance(callback, ArtifactWriter) and callback.has_best
        for callback in callbacks
    )
    return (
        "of the best checkpoint"
        if has_best and artifact.name == BEST
        else "of the last step"
    )


def _go_on(folder: Path) -> str:
    return (
        f"lightning-petl fit -c {_said(folder / CONFIG)} --run_folder {_said(folder)}"
    )


def _said(path: Path) -> str:
    """The path for a shell; one that begins with a dash would be read as an option."""
    return quote(f"./{path}" if str(path).startswith("-") else str(path))
