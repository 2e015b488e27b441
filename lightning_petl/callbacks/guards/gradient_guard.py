"""Stop a run in which something that should train does not."""

from collections.abc import Iterable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.distributed.collectives import union_over_ranks
from lightning_petl.distributed.sharding import local

# A factor behind one that starts at zero, as LoRA's A, gets its first gradient in the second update; one
# more to be safe.
UPDATES = 3

_SHOWN = 5  # names in a message


class GradientGuard(Callback):
    """Require of each trainable tensor a gradient that is not zero within three updates.

    These updates do not count: those with learning rate zero, those with a gradient that is not finite
    (under fp16 they are skipped), and those without any gradient (LossGuard left them out). What the module
    declares unreachable may have a gradient of zero, or None.

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
        self._absent = set(_trainable(pl_module))
        self._zero = set(self._absent)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._updates == UPDATES or not any(
            group["lr"] > 0 for group in optimizer.param_groups
        ):
            return
        gradients = _gradients(pl_module)
        overflowed = {
            name
            for name, gradient in gradients.items()
            if not bool(torch.isfinite(gradient).all())
        }
        # of all ranks: the shard of one rank may be finite while that of another overflows
        if union_over_ranks(overflowed):
            return
        self._updates += 1
        self._absent -= gradients.keys()
        candidates = self._zero & gradients.keys()
        moved = {name for name in candidates if bool(gradients[name].any())}
        self._zero -= union_over_ranks(moved)
        if self._updates == UPDATES:
            self._judge(pl_module.owners, pl_module.unreachable)  # pyright: ignore[reportArgumentType]

    def _judge(self, owners: dict[str, str], unreachable: set[str]) -> None:
        absent = self._absent - unreachable
        zero = self._zero - self._absent - unreachable
        found: list[str] = []
        if absent:
            found.append(_named("None", absent, owners))
        if zero:
            found.append(_named("exactly zero", zero, owners))
        if found:
            raise ValueError(
                f"after {UPDATES} updates, {'; '.join(found)}. What they do never reaches the read-out: choose other "
                "blocks, targets or another readout, or declare them unreachable in the method"
            )


def _trainable(module: LightningModule) -> Iterable[str]:
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield name


def _gradients(module: LightningModule) -> dict[str, Tensor]:
    """Return what this rank holds of the gradients, by name, without those that are None."""
    found: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            found[name] = local(parameter.grad)
    return found


def _named(problem: str, names: set[str], owners: dict[str, str]) -> str:
    shown = ", ".join(
        f"{name} of {owners.get(name, 'nobody')}" for name in sorted(names)[:_SHOWN]
    )
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"the gradient of {len(names)} trainable tensor(s) was always {problem}: {shown}{more}"
