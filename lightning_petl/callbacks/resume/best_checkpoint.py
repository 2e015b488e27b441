"""Keeps the checkpoints of the best validations, of which none is best by a number that is none."""

import math
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from typing_extensions import override


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which ignores a validation whose monitored metric is NaN or infinite.

    It also ignores one in which no output of the model was a number: its accuracies are 0, but mean nothing.
    Lightning saves such a checkpoint wherever fewer than ``save_top_k`` are there, and then calls it the best. With
    ``save_top_k=-1`` all are saved, and those without a number are never the best.
    """

    @property
    @override
    def state_key(self) -> str:
        # that of Lightning's own class, which earlier checkpoints have
        return super().state_key.replace(
            type(self).__qualname__, ModelCheckpoint.__qualname__, 1
        )

    @override
    def check_monitor_top_k(
        self, trainer: Trainer, current: Tensor | None = None
    ) -> bool:
        if current is not None and self.save_top_k != -1 and not math.isfinite(current):
            return False
        return super().check_monitor_top_k(trainer, current)

    @override
    def _monitor_candidates(self, trainer: Trainer) -> dict[str, Tensor]:
        """Give what is no number as NaN, which Lightning takes for the worst of all, whatever the mode."""
        found = super()._monitor_candidates(trainer)
        current = found.get(self.monitor or "")
        silent = getattr(trainer.lightning_module, "silent", False)
        if current is not None and (silent or not math.isfinite(current)):
            found[str(self.monitor)] = torch.tensor(math.nan, device=current.device)
        return found

    @override
    def _update_best_and_save(
        self, current: Tensor, trainer: Trainer, monitor_candidates: dict[str, Any]
    ) -> None:
        super()._update_best_and_save(current, trainer, monitor_candidates)
        if self.best_model_score is not None and not math.isfinite(
            self.best_model_score
        ):
            self.best_model_path = ""
