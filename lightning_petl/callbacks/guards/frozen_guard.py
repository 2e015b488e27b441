"""Stops a run in which something frozen changed."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.callbacks.guards.gradient_guard import UPDATES
from lightning_petl.checkpoints.checksums import checksums
from lightning_petl.distributed.collectives import union_over_ranks


class FrozenGuard(Callback):
    """Frozen weights and buffers are the same bits at the start, after three updates, and at the end.

    Checksums and not ``Tensor._version``: writing through ``.data`` leaves no trace there.

    Raises:
        ValueError: a frozen tensor changed, with its name.
    """

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}
        self._updates = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sums, self._updates = checksums(pl_module), 0

    @override
    def on_before_zero_grad(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self._updates += 1
        if (
            self._updates == UPDATES + 1
        ):  # the gradients of an update are zeroed before the next one
            self._compare(pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._compare(pl_module)

    def _compare(self, module: nn.Module) -> None:
        now = checksums(module)
        changed = union_over_ranks(
            {name for name, value in self._sums.items() if now.get(name) != value}
        )
        if changed:  # on any rank: one that stops alone would leave the others waiting
            raise ValueError(
                f"{len(changed)} frozen tensor(s) changed during training: {', '.join(sorted(changed)[:5])}; "
                "something writes to them in place"
            )
