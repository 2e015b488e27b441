"""Compare the memory that a run took with its estimate."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal

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

# After two updates of this start the state of the optimizer is allocated, and a pass is like all later ones.
_UPDATES = 2


class MemoryCheck(Callback):
    """Log ``cost/memory_estimate_mib`` and ``cost/memory_error``, which is estimate / measured - 1.

    The estimate is that of ``lightning-petl summary``. On CUDA its peak is compared with
    ``max_memory_allocated``. On a CPU its sum of parameters, gradients, optimizer state and tensors saved
    for the backward pass is compared with the same sum, measured in one pass. Of a sharded run those are
    the shards of rank 0. Banks and starts of fewer than three updates are not compared.
    """

    def __init__(self) -> None:
        self._saving = ExitStack()
        self._saved: dict[int, Tensor] = {}
        self._plan: TrainingPlan | None = None
        self._measured = 0
        self._first = 0
        self._whole: Task | None = None

    @override
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        if stage != "fit" or not isinstance(trainer.strategy, FSDP2):
            return
        if isinstance(pl_module, Task):
            # before configure_model shards it: sharded parameters cannot be copied
            self._whole = shapes(pl_module)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first = trainer.global_step

    @override
    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        updates = trainer.global_step - self._first
        if (
            self._plan is None
            and updates == _UPDATES
            and _comparable(pl_module, batch)
        ):
            self._plan = _plan(trainer, batch)
            # here, because the forward pass will gather shards
            self._measured = size(_held(trainer, pl_module))
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
            parameters = addresses(map(local, pl_module.parameters()))
            self._measured += bytes_of(self._saved, apart_from=parameters)
            self._saved = {}

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._saving.close()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._plan is None or not trainer.is_global_zero:
            return
        if not isinstance(pl_module, Task):
            return
        try:
            summary = summarize(self._whole or pl_module, self._plan)
        except (RuntimeError, NotImplementedError) as error:
            # an operator of a user's own that torch cannot simulate must not end the training
            rank_zero_warn(f"the memory of this run cannot be estimated: {error}")
            return
        if pl_module.device.type == "cuda":
            measured = torch.cuda.max_memory_allocated(pl_module.device)
            estimate = summary.peak
        else:
            measured = self._measured
            estimate = summary.counted
        error = estimate / measured - 1
        rank_zero_info(
            f"memory: {measured / MIB:.1f} MiB measured, {estimate / MIB:.1f} MiB estimated ({error:+.1%})"
        )
        found = {
            "cost/memory_estimate_mib": estimate / MIB,
            "cost/memory_error": error,
        }
        for logger in trainer.loggers:
            # a later step than that of the last row would begin a new one
            of_run = isinstance(logger, RunLogger)
            logger.log_metrics(
                found, logger.row.step if of_run else trainer.global_step
            )


def _comparable(model: LightningModule, batch: Any) -> bool:
    known = isinstance(model, Task) and not isinstance(model, Bank)
    return (
        known and isinstance(batch, VideoBatch) and isinstance(batch.video, Tensor)
    )


def _held(trainer: Trainer, model: LightningModule) -> Iterator[Tensor]:
    """Yield what this rank holds in every pass.

    Gradients are as large as the parameters that train, which stand for them: whole until the last
    accumulated pass has sent them.
    """
    trains = [p for p in model.parameters() if p.requires_grad]
    yield from trains if trainer.accumulate_grad_batches > 1 else map(local, trains)
    yield from map(local, model.parameters())
    yield from model.buffers()
    for optimizer in trainer.optimizers:
        yield from map(local, state_of(optimizer))
    yield from map(local, _averages(trainer))


def _averages(trainer: Trainer) -> list[Tensor]:
    # Lightning 2.6 sets this attribute by its name, which pyright does not see
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    averages: list[Tensor] = []
    for callback in callbacks:
        if isinstance(callback, EMA):
            averages += callback.state_dict()["average"].values()
    return averages


def _plan(trainer: Trainer, batch: VideoBatch) -> TrainingPlan:
    assert isinstance(batch.video, Tensor)
    clips, _, frames, _, size, _ = batch.video.shape
    strategy: Literal["one", "ddp", "fsdp"] = "one"
    if isinstance(trainer.strategy, FSDP2):
        strategy = "fsdp"
    elif isinstance(trainer.strategy, TrainableDDP):
        strategy = "ddp"
    return TrainingPlan(
        clips=clips,
        num_frames=frames,
        image_size=size,
        ranks=trainer.world_size,
        strategy=strategy,
        precision=str(trainer.precision),
        passes=trainer.accumulate_grad_batches,
        averaged=bool(_averages(trainer)),
    )
