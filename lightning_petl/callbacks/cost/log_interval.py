"""Choose how often a training logs, where its configuration does not say."""

import math
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

# a curve has so many points, or more
POINTS = 100

# updates between two points at most, which is the default of Lightning
RAREST = 50


class LogInterval(Callback):
    """Set ``trainer.log_every_n_steps`` by the number of updates, so that a short training has a curve, too.

    The interval depends on the whole training alone, so that a resume has the same. This callback must
    come before those that log.
    """

    @override
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        # 1: Lightning would advise to lower its default, before the number of updates is known
        _set(trainer, 1)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _set(trainer, interval(trainer.estimated_stepping_batches))


def interval(updates: int | float) -> int:
    """Return the updates from one point to the next; ``interval(199)`` is 1 and ``interval(1200)`` is 12."""
    if updates == math.inf:
        return RAREST
    return int(min(max(updates // POINTS, 1), RAREST))


def _set(trainer: Trainer, steps: int) -> None:
    cast(Any, trainer).log_every_n_steps = steps
