"""Write the adapter artifacts of a run when training ends: of its best checkpoint, and of its last step."""

from pathlib import Path
from typing import Any

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from data_modules.io.atomic import write_whole
from lightning_petl.artifacts.files import CONFIG, LABELS, WEIGHTS
from lightning_petl.artifacts.format import write
from lightning_petl.callbacks.ema import EMA, averaged, evaluated_state
from lightning_petl.runs.folder import run_folder
from lightning_petl.tasks.classification import VideoClassifier

BEST = "artifact"
LAST = "artifact_last"


class ArtifactWriter(Callback):
    """Write ``<run folder>/artifact`` of the best checkpoint and ``artifact_last`` of the last step.

    The best one is that of the metric that the run monitors. Where no validation chose one, both hold the
    last step.

    Attributes:
        has_best: whether one was chosen; right on rank 0, after a training.
    """

    has_best = False

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, VideoClassifier):
            return
        folder = run_folder(trainer)
        protocol = protocol_of(trainer)
        with averaged(trainer, pl_module):
            write(folder / LAST, pl_module.trained(), protocol)
        # rank 0 alone: a checkpoint file holds whole tensors, so that nothing is gathered
        if trainer.is_global_zero:
            state = _best_state(trainer)
            self.has_best = state is not None
            if state is None:
                _copy(folder / LAST, folder / BEST)
            else:
                write(folder / BEST, pl_module.trained(state), protocol)


def protocol_of(trainer: Trainer) -> dict[str, Any]:
    """Return how the data module of a run samples and crops a video."""
    # Lightning 2.6 sets this attribute by its name, which pyright does not see
    return trainer.datamodule.protocol()  # pyright: ignore[reportAttributeAccessIssue]


def _best_state(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """Return the weights of the best checkpoint that are evaluated; None where there is none."""
    path = _best_path(trainer)
    if path is None or not path.is_file():
        return None
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    has_averages = any(isinstance(callback, EMA) for callback in callbacks)
    if has_averages and "callbacks" not in checkpoint:
        rank_zero_warn(
            f"{path} holds no averages (checkpoint.save_weights_only): {BEST} is that of the last step"
        )
        return None
    return evaluated_state(checkpoint)


def _best_path(trainer: Trainer) -> Path | None:
    for callback in trainer.checkpoint_callbacks:
        # Preemption is a checkpoint callback, too, and one without a monitor keeps the last
        if isinstance(callback, ModelCheckpoint) and callback.monitor:
            return Path(callback.best_model_path)
    return None


def _copy(source: Path, target: Path) -> None:
    for name in (WEIGHTS, LABELS, CONFIG):
        write_whole(target / name, (source / name).read_bytes())
