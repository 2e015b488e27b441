"""Stops a run in which something that should train does not."""

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.tasks.classification import VideoClassifier


class GradientGuard(Callback):
    """After the first optimizer steps every trainable tensor must have had a gradient that is not zero.

    Steps with learning rate zero do not count. Tensors that a method declares unreachable for this read-out are
    left out. Several steps are needed: a method that is the identity at init gives some of its tensors their first
    gradient in the second step.

    Args:
        steps: optimizer steps that are watched.

    Raises:
        ValueError: at that step, naming the tensors and their owners.
    """

    def __init__(self, steps: int = 3) -> None:
        self.steps, self.seen = steps, 0
        self._missing: set[str] = set()
        self._reached: set[str] = set()

    @override
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if self.seen >= self.steps or all(group["lr"] == 0 for group in optimizer.param_groups):
            return
        watched = _watched(cast(VideoClassifier, pl_module))
        self._missing |= {name for name, gradient in watched.items() if gradient is None}
        self._reached |= {name for name, gradient in watched.items() if gradient is not None and bool(gradient.any())}
        self.seen += 1
        if self.seen == self.steps:
            self._judge(cast(VideoClassifier, pl_module), set(watched))

    def _judge(self, model: VideoClassifier, names: set[str]) -> None:
        _refuse("had no gradient (None)", self._missing, model, self.steps)
        _refuse("had a gradient of exactly zero", names - self._reached, model, self.steps)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # a resumed run that was interrupted before the verdict watches anew
        self.seen = self.steps if state_dict["seen"] >= self.steps else 0


def _watched(model: VideoClassifier) -> dict[str, Tensor | None]:
    lost = model.unreachable
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and name not in lost}


def _refuse(what: str, names: set[str], model: VideoClassifier, steps: int) -> None:
    if names:
        shown = ", ".join(f"{name} ({model.owners.get(name, 'nobody')})" for name in sorted(names)[:5])
        raise ValueError(
            f"{len(names)} trainable tensors {what} in {steps} optimizer steps: {shown}"
            f"{', ...' if len(names) > 5 else ''}. Nothing connects them with the read-out "
            f"{model.backbone.readout!r}: change the read-out or the method's blocks, or let the method declare them"
        )
