"""Stops a run in which something that should train does not."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.distributed.collectives import union_over_ranks
from lightning_petl.distributed.sharding import local

UPDATES = 3
"""A factor behind one that starts at zero has its first gradient in the second update; one more to be safe."""


class GradientGuard(Callback):
    """After three updates, each trainable tensor must have had a gradient that is not zero.

    Updates with learning rate zero, with a gradient that is not finite (they are skipped under fp16) or without any (so
    are those that are left out for their loss) do not count.
    What the module declares unreachable may be zero, or None.

    Raises:
        ValueError: in the third update, with the names and owners.
    """

    def __init__(self) -> None:
        self._updates = 0
        self._absent: set[str] = set()
        self._zero: set[str] = set()

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._updates = 0
        self._absent = {
            name for name, p in pl_module.named_parameters() if p.requires_grad
        }
        self._zero = set(self._absent)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._updates == UPDATES or not any(
            group["lr"] > 0 for group in optimizer.param_groups
        ):
            return
        gradients = {
            name: p.grad for name, p in pl_module.named_parameters() if p.requires_grad
        }
        present = {
            name: local(gradient)
            for name, gradient in gradients.items()
            if gradient is not None
        }
        overflowed = {
            name
            for name, gradient in present.items()
            if not bool(torch.isfinite(gradient).all())
        }
        # of all ranks: the shard of one rank may be finite while that of another overflows
        if union_over_ranks(overflowed):
            return
        self._updates += 1
        self._absent -= present.keys()
        self._zero -= union_over_ranks(
            {name for name in self._zero & present.keys() if bool(present[name].any())}
        )
        if self._updates == UPDATES:
            self._judge(pl_module.owners, pl_module.unreachable)  # pyright: ignore[reportArgumentType]

    def _judge(self, owners: dict[str, str], unreachable: set[str]) -> None:
        absent, zero = (
            self._absent - unreachable,
            self._zero - self._absent - unreachable,
        )
        found = [
            text
            for text in (
                _named("None", absent, owners),
                _named("exactly zero", zero, owners),
            )
            if text
        ]
        if found:
            raise ValueError(
                f"after {UPDATES} updates, {'; '.join(found)}. What they do never reaches the read-out: choose other "
                "blocks, targets or another readout, or declare them unreachable in the method"
            )


def _named(problem: str, names: set[str], owners: dict[str, str]) -> str:
    if not names:
        return ""
    shown = ", ".join(
        f"{name} of {owners.get(name, 'nobody')}" for name in sorted(names)[:5]
    )
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"the gradient of {len(names)} trainable tensor(s) was always {problem}: {shown}{more}"
