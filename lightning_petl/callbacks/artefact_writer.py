"""Writes the adapter artefact when training ends."""

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_petl import artefact
from lightning_petl.callbacks.ema import averaged
from lightning_petl.callbacks.predictions import run_folder
from lightning_petl.tasks.classification import VideoClassifier


class ArtefactWriter(Callback):
    """``<run folder>/artefact``: the trained state of the last step, ready for ``predict --artefact``."""

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, VideoClassifier):
            protocol = trainer.datamodule.protocol()  # pyright: ignore[reportAttributeAccessIssue]  # set by name
            with averaged(trainer, pl_module):
                artefact.save(run_folder(trainer) / "artefact", pl_module, protocol)
