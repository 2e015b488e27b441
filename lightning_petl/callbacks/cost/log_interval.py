"""How often a training logs, where its configuration does not say."""

import math
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

POINTS = 100  # of a curve, or more
RAREST = 50  # updates between two points at most, as Lightning has it


class LogInterval(Callback):
    """Sets ``trainer.log_every_n_steps`` by the number of updates, so that a short training has a curve as well.

    It is the same after a resume, for it depends on the whole training alone. It comes before what logs.
    """

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        _set(
            trainer, 1
        )  # else Lightning would advise to lower it, before the number of updates is known

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _set(trainer, interval(trainer.estimated_stepping_batches))


def interval(updates: int | float) -> int:
    """Return the updates from one point to the next; ``interval(199)`` is 1 and ``interval(1200)`` is 12."""
    return (
        RAREST if updates == math.inf else int(min(max(updates // POINTS, 1), RAREST))
    )


def _set(trainer: Trainer, steps: int) -> None:
    cast(Any, trainer).log_every_n_steps = steps
