"""Says after a run how far the estimate of its memory was off."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from data_modules.batch import VideoBatch
from lightning_petl.callbacks.ema import EMA
from lightning_petl.cost.saved_memory import addresses, bytes_of, collecting
from lightning_petl.cost.simulation import shapes, size, state_of
from lightning_petl.cost.summary import MIB, TrainingPlan, summarize
from lightning_petl.distributed.sharding import local
from lightning_petl.runs.logger import RunLogger
from lightning_petl.strategies.ddp import TrainableDDP
from lightning_petl.strategies.fsdp import FSDP2
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.task import Task

_UPDATES = 2
"""After two updates of this start the optimiser's state is there, and a pass is like all later ones."""


class MemoryCheck(Callback):
    """Logs ``cost/memory_estimate_mib`` and ``cost/memory_error``, the estimate over what was measured, less one.

    The estimate is that of ``lightning-petl summary``. On CUDA it is compared with ``max_memory_allocated``, on a CPU
    the sum of parameters, gradients, optimiser state and tensors saved for the backward pass with the same sum of one
    pass. Of a sharded run those are the first rank's shares. Banks and starts of fewer than three updates are not
    compared.
    """

    def __init__(self) -> None:
        self._saving = ExitStack()
        self._saved: dict[int, Tensor] = {}
        self._plan: TrainingPlan | None = None
        self._measured = self._first = 0
        self._whole: Task | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if (
            stage == "fit"
            and isinstance(trainer.strategy, FSDP2)
            and isinstance(pl_module, Task)
        ):
            self._whole = shapes(pl_module)  # what is sharded cannot be copied

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first = trainer.global_step

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        updates = trainer.global_step - self._first
        if self._plan is None and updates == _UPDATES and _comparable(pl_module, batch):
            self._plan = _plan(trainer, batch)
            self._measured = size(
                _held(trainer, pl_module)
            )  # before a pass gathers what is shared out
            self._saving.enter_context(collecting(self._saved))

    @override
    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        self._saving.close()

    @override
    def on_before_zero_grad(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        if self._saved:
            self._measured += bytes_of(
                self._saved, apart_from=addresses(map(local, pl_module.parameters()))
            )
            self._saved = {}

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._saving.close()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (
            self._plan is None
            or not trainer.is_global_zero
            or not isinstance(pl_module, Task)
        ):
            return
        try:
            summary = summarize(self._whole or pl_module, self._plan)
        except (
            RuntimeError,
            NotImplementedError,
        ) as error:  # an operator without rules for shapes ends no training
            rank_zero_warn(f"the memory of this run cannot be estimated: {error}")
            return
        on_cuda = pl_module.device.type == "cuda"
        measured = (
            torch.cuda.max_memory_allocated(pl_module.device)
            if on_cuda
            else self._measured
        )
        estimate = summary.peak if on_cuda else summary.counted
        error = estimate / measured - 1
        rank_zero_info(
            f"memory: {measured / MIB:.1f} MiB measured, {estimate / MIB:.1f} MiB estimated ({error:+.1%})"
        )
        for logger in trainer.loggers:
            found = {
                "cost/memory_estimate_mib": estimate / MIB,
                "cost/memory_error": error,
            }
            logger.log_metrics(
                found,
                logger.row.step
                if isinstance(logger, RunLogger)
                else trainer.global_step,
            )


def _comparable(model: LightningModule, batch: Any) -> bool:
    known = isinstance(model, Task) and not isinstance(model, Bank)
    return known and isinstance(batch, VideoBatch) and isinstance(batch.video, Tensor)


def _held(trainer: Trainer, model: LightningModule) -> Iterator[Tensor]:
    """What this rank holds in every pass, and gradients, which are as large as what trains: until they are sent."""
    trains = [p for p in model.parameters() if p.requires_grad]
    yield from trains if trainer.accumulate_grad_batches > 1 else map(local, trains)
    yield from map(local, model.parameters())
    yield from model.buffers()
    for optimizer in trainer.optimizers:
        yield from map(local, state_of(optimizer))
    yield from map(local, _averages(trainer))


def _averages(trainer: Trainer) -> list[Tensor]:
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]  # set by name
    kept = [
        callback.state_dict()["average"]
        for callback in callbacks
        if isinstance(callback, EMA)
    ]
    return [tensor for average in kept for tensor in average.values()]


def _plan(trainer: Trainer, batch: VideoBatch) -> TrainingPlan:
    assert isinstance(batch.video, Tensor)
    clips, _, frames, _, size, _ = batch.video.shape
    strategy = trainer.strategy
    return TrainingPlan(
        clips=clips,
        num_frames=frames,
        image_size=size,
        ranks=trainer.world_size,
        strategy="fsdp"
        if isinstance(strategy, FSDP2)
        else "ddp"
        if isinstance(strategy, TrainableDDP)
        else "one",
        precision=str(trainer.precision),
        passes=trainer.accumulate_grad_batches,
        averaged=bool(_averages(trainer)),
    )
