"""Says after a run how far the estimate of its memory was off."""

from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from data_modules.batch import VideoBatch
from lightning_petl.memory import addresses, bytes_of, collecting
from lightning_petl.simulation import size, state_of
from lightning_petl.summary import MIB, Plan, summarise
from lightning_petl.tasks.bank import Bank
from lightning_petl.tasks.task import Task

_UPDATES = 2
"""After the first update the optimiser's state is there; its second pass is like all later ones."""


class MemoryCheck(Callback):
    """Logs ``cost/memory_estimate_mib`` and ``cost/memory_error``, the estimate over what was measured, less one.

    The estimate is that of ``lightning-petl summary``. On CUDA it is compared with ``max_memory_allocated``, on a CPU
    the sum of parameters, gradients, optimiser state and tensors saved for the backward pass with the same sum of one
    pass. Banks, sharded runs and runs of fewer than three updates are not compared.
    """

    def __init__(self) -> None:
        self._saving = ExitStack()
        self._saved: dict[int, Tensor] = {}
        self._plan: Plan | None = None
        self._measured = 0

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._plan is None and trainer.global_step == _UPDATES and _comparable(trainer, pl_module, batch):
            self._plan = _plan(trainer, batch)
            self._saving.enter_context(collecting(self._saved))

    @override
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._saving.close()

    @override
    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self._saved:
            held = [*pl_module.parameters(), *pl_module.buffers(), *state_of(optimizer)]
            gradients = [p for p in pl_module.parameters() if p.requires_grad]
            saved = bytes_of(self._saved, apart_from=addresses(pl_module.parameters()))
            self._measured, self._saved = size(held) + size(gradients) + saved, {}

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._saving.close()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._plan is None or not trainer.is_global_zero or not isinstance(pl_module, Task):
            return
        try:
            summary = summarise(pl_module, self._plan)
        except (RuntimeError, NotImplementedError) as error:  # an operator without rules for shapes ends no training
            rank_zero_warn(f"the memory of this run cannot be estimated: {error}")
            return
        on_cuda = pl_module.device.type == "cuda"
        measured = torch.cuda.max_memory_allocated(pl_module.device) if on_cuda else self._measured
        estimate = summary.peak if on_cuda else summary.counted
        error = estimate / measured - 1
        rank_zero_info(f"memory: {measured / MIB:.1f} MiB measured, {estimate / MIB:.1f} MiB estimated ({error:+.1%})")
        for logger in trainer.loggers:
            found = {"cost/memory_estimate_mib": estimate / MIB, "cost/memory_error": error}
            logger.log_metrics(found, trainer.global_step)


def _comparable(trainer: Trainer, model: LightningModule, batch: Any) -> bool:
    whole = isinstance(model, Task) and not isinstance(model, Bank) and not hasattr(trainer.strategy, "device_mesh")
    return whole and isinstance(batch, VideoBatch) and isinstance(batch.video, Tensor)


def _plan(trainer: Trainer, batch: VideoBatch) -> Plan:
    assert isinstance(batch.video, Tensor)
    clips, _, frames, _, size, _ = batch.video.shape
    kind = "ddp" if trainer.world_size > 1 else "one"
    precision = str(trainer.precision)
    return Plan(
        clips=clips, num_frames=frames, image_size=size, ranks=trainer.world_size, strategy=kind, precision=precision
    )
