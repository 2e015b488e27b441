"""Stop at a loss that is no number, or leave its update out, and keep the batch for inspection."""

import math
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from data_modules.batch import VideoBatch
from lightning_petl.checkpoints.random_state import RandomState
from lightning_petl.checkpoints.trainable_state import trainable_buffers
from lightning_petl.distributed.collectives import gather_objects

WINDOW = 100
"""The median is that of so many last losses."""

HISTORY = 20
"""Without so many losses there is no median, and no spike."""


class LossGuard(Callback):
    """Check the loss of every pass: bad is NaN, infinite, or above ``spike`` times the median of the last 100.

    One bad loss on one rank concerns the whole update on all ranks. ``stop`` ends training before the
    update. ``skip`` leaves it out: no weight, no statistic of a BatchNorm and no optimizer state changes,
    while the schedule goes on; ``train/skipped`` counts such updates. The first bad batch of an update is
    written to ``<run>/bad_batch_step=<n>.pt``, with all fields of ``VideoBatch`` and the random state that
    its forward pass began with. Gradients that overflow under fp16 are no bad loss; the scaler skips those.

    Args:
        on_bad: what to do.
        spike: a factor. None: only a loss that is no number is bad.
        budget: number of updates that may be left out.

    Raises:
        ValueError: a spike of 1 or less; later, a bad loss, or more of them than the budget.
    """

    def __init__(
        self,
        on_bad: Literal["stop", "skip"] = "stop",
        *,
        spike: float | None = None,
        budget: int = 10,
    ) -> None:
        if spike is not None and spike <= 1:
            raise ValueError(
                f"loss_guard.spike: expected a factor above 1, got {spike}"
            )
        self.on_bad = on_bad
        self.spike = spike
        self.budget = budget
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._saved: list[list[float]] = []
        self._skipped = 0
        self._found: str | None = None
        self._batch: VideoBatch | None = None
        self._random: RandomState | None = None
        self._loss: Tensor | None = None
        self._buffers: list[Tensor] = []
        self._statistics: list[Tensor] = []
        self._folder = Path()

    @override
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        # log_dir is broadcast from rank 0: here all ranks ask for it, at a bad loss one alone would
        self._folder = Path(trainer.log_dir or ".")

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if len(self._saved) == trainer.world_size:
            self._losses.extend(self._saved[trainer.global_rank])
        self._saved = []
        self._statistics = []
        self._buffers = trainable_buffers(pl_module)
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(_restore_gradients)

    @override
    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._batch = batch
        self._random = RandomState.now()
        first_pass = not self._statistics
        if self.on_bad == "skip" and first_pass:
            self._statistics = [buffer.clone() for buffer in self._buffers]

    @override
    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        self._loss = loss.detach()

    @override
    def on_after_backward(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        # here, not before the backward pass: reading the loss waits for the GPU, which by now has the backward
        # pass queued
        value = _unscaled(cast(Tensor, self._loss), trainer)
        if not self._bad(value):
            self._losses.append(value)
        elif self._found is None:
            kept = self._keep(trainer, value)
            self._found = f"loss {value:g} in update {trainer.global_step}, its batch is {kept}"

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        found = self._found
        statistics = self._statistics
        self._found = None
        self._statistics = []
        if not trainer.strategy.reduce_boolean_decision(
            found is not None, all=False
        ):
            return
        told = "; ".join(text for text in gather_objects(found) if text)
        if self.on_bad == "stop":
            raise ValueError(
                f"{told}; loss_guard.on_bad=skip leaves such updates out"
            )
        self._skipped += 1
        if self._skipped > self.budget:
            raise ValueError(
                f"{told}; more than loss_guard.budget={self.budget} updates were left out"
            )
        rank_zero_warn(
            f"{told}; this update is left out, the {self._skipped}. of {self.budget}"
        )
        for buffer, value in zip(self._buffers, statistics, strict=True):
            buffer.copy_(value)
        _hide_gradients(optimizer)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._batch = self._loss = None
        if self.on_bad == "skip":
            pl_module.log("train/skipped", float(self._skipped))

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the last losses of each rank. All ranks must call it, as they do in ``Trainer.save_checkpoint``."""
        return {
            "losses": gather_objects(list(self._losses)),
            "skipped": self._skipped,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict["losses"]
        self._skipped = state_dict["skipped"]

    def _bad(self, value: float) -> bool:
        if not math.isfinite(value):
            return True
        if self.spike is None or len(self._losses) < HISTORY:
            return False
        return value > self.spike * median(self._losses)

    def _keep(self, trainer: Trainer, value: float) -> str:
        """Write the batch; return where that is, or why it could not be written, for a message."""
        rank = f"_rank={trainer.global_rank}" if trainer.global_rank else ""
        path = self._folder / f"bad_batch_step={trainer.global_step}{rank}.pt"
        content = _plain(cast(VideoBatch, self._batch))
        content |= {
            "loss": value,
            "step": trainer.global_step,
            "random_state": list(cast(RandomState, self._random)),
        }
        try:
            torch.save(content, path)
        except OSError as error:
            return f"not kept ({error})"
        return f"in {path} ({', '.join(content['clip_id'])})"


def _plain(batch: VideoBatch) -> dict[str, Any]:
    """Return all fields of a batch, in types that ``torch.load(weights_only=True)`` reads."""
    video = batch.video if isinstance(batch.video, Tensor) else dict(batch.video)
    partners = batch.partners and batch.partners._asdict()
    lists = {
        name: list(getattr(batch, name))
        for name in ("clip_id", "fault", "captions")
    }
    return {"video": video, "label": batch.label, "partners": partners, **lists}


def _unscaled(loss: Tensor, trainer: Trainer) -> float:
    """Return the loss of the training step.

    Lightning has divided it by the number of accumulated passes, and fp16 multiplies by its scale.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    scale = scaler.get_scale() if scaler is not None else 1.0
    return float(loss) * trainer.accumulate_grad_batches / scale


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]


def _hide_gradients(optimizer: Optimizer) -> None:
    """Take the gradients from the parameters, so that the next step changes nothing.

    An optimizer leaves a parameter without a gradient alone: no decay, no momentum, no count of steps. To
    skip the call of ``step`` instead is not possible: Lightning 2.6 counts the updates around it.
    """
    for parameter in _parameters(optimizer):
        parameter._left_out = parameter.grad  # pyright: ignore[reportAttributeAccessIssue]
        parameter.grad = None


def _restore_gradients(optimizer: Optimizer, *_: Any) -> None:
    """Give the gradients back after the step: those of DDP are views of its buckets."""
    for parameter in _parameters(optimizer):
        if hasattr(parameter, "_left_out"):
            parameter.grad = parameter._left_out  # pyright: ignore[reportAttributeAccessIssue]
            del parameter._left_out  # pyright: ignore[reportAttributeAccessIssue]
