"""Writes the adapter artefact when training ends."""

from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lightning_petl import artefact
from lightning_petl.callbacks.predictions import run_folder
from lightning_petl.tasks.classification import VideoClassifier


class ArtefactWriter(Callback):
    """``<run folder>/artefact``: the trained state of the last step, ready for ``predict --artefact``."""

    @override
    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_folder(trainer) / "artefact"
        protocol = trainer.datamodule.protocol()  # pyright: ignore[reportAttributeAccessIssue]  # Trainer sets it by name
        artefact.save(folder, cast(VideoClassifier, pl_module), protocol)
