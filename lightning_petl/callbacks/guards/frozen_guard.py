"""Stop a run in which something frozen changed."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.callbacks.guards.gradient_guard import UPDATES
from lightning_petl.checkpoints.checksums import checksums
from lightning_petl.distributed.collectives import union_over_ranks


class FrozenGuard(Callback):
    """Compare the bits of frozen weights and buffers at the start, after three updates, and at the end.

    It compares checksums, because writing through ``Tensor.data`` does not change ``Tensor._version``.

    Raises:
        ValueError: a frozen tensor changed, with its name.
    """

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}
        self._updates = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._sums = checksums(pl_module)
        self._updates = 0

    @override
    def on_before_zero_grad(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self._updates += 1
        # + 1: the gradients of an update are zeroed at the beginning of the next one
        if self._updates == UPDATES + 1:
            self._require_unchanged(pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._require_unchanged(pl_module)

    def _require_unchanged(self, module: nn.Module) -> None:
        now = checksums(module)
        own = {name for name, value in self._sums.items() if now.get(name) != value}
        # of all ranks: one that stops alone would leave the others waiting
        changed = union_over_ranks(own)
        if changed:
            raise ValueError(
                f"{len(changed)} frozen tensor(s) changed during training: {', '.join(sorted(changed)[:5])}; "
                "something writes to them in place"
            )
