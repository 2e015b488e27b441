"""Stops a run in which something frozen has changed."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from typing_extensions import override

from lightning_petl.checkpoint import trainable_keys


class FrozenGuard(Callback):
    """Compares checksums of all frozen weights and buffers before the first batch with those after training.

    Raises:
        ValueError: at the end of fit, naming what changed.
    """

    def __init__(self) -> None:
        self._before: dict[str, int] = {}

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before = checksums(pl_module)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        after = checksums(pl_module)
        changed = sorted(name for name, value in self._before.items() if after.get(name) != value)
        if changed:
            shown = ", ".join(changed[:5])
            raise ValueError(f"{len(changed)} frozen tensors changed in training, which must not happen: {shown}")


def checksums(module: nn.Module) -> dict[str, int]:
    """The sum of the bit patterns of each frozen tensor, exact in any order."""
    trains = trainable_keys(module)
    return {name: _checksum(tensor) for name, tensor in module.state_dict().items() if name not in trains}


def _checksum(tensor: Tensor) -> int:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return int(tensor.detach().contiguous().view(-1).view(integers[tensor.element_size()]).sum(dtype=torch.int64))
