"""Keep the checkpoints of the best validations; none is best by a metric that is no number."""

import math
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from typing_extensions import override


class BestCheckpoint(ModelCheckpoint):
    """Keep checkpoints as ModelCheckpoint does, but ignore validations whose metric is NaN or infinite.

    It also ignores a validation in which no output of the model was a number: its accuracies are 0, but
    mean nothing. Lightning 2.6 saves such a checkpoint where fewer than ``save_top_k`` exist, and then calls
    it the best. With ``save_top_k=-1`` all are saved, and those without a number are never the best.

    The private methods are those of Lightning 2.6, which has no public ones between the metric and the file.
    """

    @property
    @override
    def state_key(self) -> str:
        # the key of Lightning's own class, under which earlier checkpoints have the state
        return super().state_key.replace(
            type(self).__qualname__, ModelCheckpoint.__qualname__, 1
        )

    @override
    def check_monitor_top_k(
        self, trainer: Trainer, current: Tensor | None = None
    ) -> bool:
        if (
            current is not None
            and self.save_top_k != -1
            and not math.isfinite(current)
        ):
            return False
        return super().check_monitor_top_k(trainer, current)

    @override
    def _monitor_candidates(self, trainer: Trainer) -> dict[str, Tensor]:
        """Return the metrics, with NaN for what is no number: Lightning takes it for the worst of all."""
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
