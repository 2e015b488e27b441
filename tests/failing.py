"""What goes wrong when told: a worker process, a number that overflows."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data_modules import (
    compat as compat,
)  # before lightning, which imports torchvision

# isort: split
import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import get_worker_info

from data_modules.transforms.crops import CropRecipe, TrainCrop
from lightning_petl.tasks.task import Task


@dataclass(frozen=True)
class FailingCrop(TrainCrop):
    """In a worker, the process that takes ``flag`` away ends by ``kill``, or sleeps where that is 0."""

    flag: str = ""
    kill: int = signal.SIGKILL

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> CropRecipe:
        """Fail, or draw."""
        if get_worker_info() is not None and _taken(Path(self.flag)):
            if self.kill:
                os.kill(os.getpid(), self.kill)
            time.sleep(600)
        return super().draw(height, width, size, generator)


def _taken(flag: Path) -> bool:
    try:
        flag.unlink()
    except FileNotFoundError:
        return False
    return True


class Overflow(Callback):
    """In one training pass what the trunk's first block gives is too large to be squared.

    Args:
        batch: number of the pass, from 0.
        rank: that it happens on alone.
    """

    def __init__(self, batch: int, rank: int = 0) -> None:
        self.batch, self.rank = batch, rank
        self._passes = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any
    ) -> None:
        """Let the next pass overflow, if it is its turn."""
        if self._passes == self.batch and trainer.global_rank == self.rank:
            block = cast(Task, pl_module).backbone.blocks[0]
            handle = block.register_forward_hook(
                lambda module, args, output: (handle.remove(), output * 1e30)[1]
            )
        self._passes += 1
