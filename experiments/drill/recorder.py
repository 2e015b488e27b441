"""What a rank trained on, written at once: a process that is killed has nothing left to write."""

import json
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

import data_modules.compat  # noqa: F401  # before what imports torchvision
from data_modules.batch import VideoBatch


class Recorder(Callback):
    """``folder/rank_<r>.jsonl``: a line a batch with the update it belongs to, its clips, and all bits of its loss.

    Args:
        folder: exists.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        """Append the line."""
        rates = [
            group["lr"]
            for optimizer in trainer.optimizers
            for group in optimizer.param_groups
        ]
        line = {
            "epoch": trainer.current_epoch,
            "batch": batch_idx,
            "update": trainer.global_step,
            "clips": list(batch.clip_id),
            "loss": float(outputs["loss"]).hex(),
            "rates": [rate.hex() for rate in rates],
        }
        with (self._folder / f"rank_{trainer.global_rank}.jsonl").open(
            "ab", buffering=0
        ) as file:
            file.write(f"{json.dumps(line | {'process': os.getpid()})}\n".encode())
