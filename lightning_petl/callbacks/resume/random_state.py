"""Save the random state of every rank in each checkpoint, and restore it."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_petl.checkpoints.random_state import RandomState
from lightning_petl.distributed.collectives import gather_objects


class RandomStates(Callback):
    """Let dropout after a resume draw what it would have drawn without the stop.

    The states are restored at the first batch, before its forward pass: what a Trainer does between loading
    and that batch (sanity checks, iterators) draws random numbers, too. Loaders must have generators of
    their own, as those of the data modules have.
    """

    def __init__(self) -> None:
        self._pending: list[RandomState] = []

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return one state a rank: what is yet to be restored, else the present one.

        All ranks must call it, as they do in ``Trainer.save_checkpoint``.
        """
        return {
            "ranks": [
                list(state)
                for state in self._pending or gather_objects(RandomState.now())
            ]
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._pending = [RandomState(*state) for state in state_dict["ranks"]]

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning gives all ranks the same seed; their clips differ, and so should their dropout
        torch.manual_seed(torch.initial_seed() + trainer.global_rank)

    @override
    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if len(self._pending) == trainer.world_size:
            self._pending[trainer.global_rank].restore()
        elif self._pending:
            rank_zero_warn(
                f"the checkpoint holds the random states of {len(self._pending)} rank(s), this run has "
                f"{trainer.world_size}: dropout will differ from a run without the stop"
            )
        self._pending = []
