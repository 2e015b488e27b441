"""What a training will cost each device, before it is queued: no data, no weights, no GPU."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Optimizer

from data_modules.batch import VideoBatch
from lightning_petl.callbacks.cost.ownership import Share, shares
from lightning_petl.checkpoints.trainable_state import trainable_buffers
from lightning_petl.cost.simulation import Step, simulate, size, without_memory
from lightning_petl.distributed.traffic import (
    bytes_per_rank,
    gathered_bytes,
    gradient_bytes,
)
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.task import Task

MIB = 2**20
_GATHERED = (
    2  # units of FSDP2 that are whole at a time: the one that computes and the next
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How it will be trained.

    Args:
        clips: of a pass on one device.
        num_frames: of a clip.
        image_size: pixels.
        ranks: devices in all.
        strategy: ``one`` device, ``ddp`` or ``fsdp`` (FSDP2).
        precision: one of :data:`~lightning_petl.strategies.precision.PRECISIONS`.
        passes: that an update accumulates.
        averaged: with an :class:`~lightning_petl.callbacks.ema.EMA`.
    """

    clips: int
    num_frames: int
    image_size: int
    ranks: int = 1
    strategy: Literal["one", "ddp", "fsdp"] = "one"
    precision: str = "32-true"
    passes: int = 1
    averaged: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        """The context of the forward pass; on the CPU's rules, whose saved tensors are CUDA's in size."""
        kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        return (
            torch.autocast("cpu", kinds[self.precision])
            if self.precision in kinds
            else nullcontext()
        )

    def batch(self) -> VideoBatch:
        """Clips of this size."""
        video = torch.zeros(
            self.clips,
            1,
            self.num_frames,
            3,
            self.image_size,
            self.image_size,
            dtype=torch.uint8,
        )
        names = [str(number) for number in range(self.clips)]
        captions = [("a caption",)] * self.clips  # of any length: texts are filled up
        return VideoBatch(
            video, torch.zeros(self.clips, dtype=torch.int64), names, captions=captions
        )


class Summary(NamedTuple):
    """Bytes of one device, and operations.

    Attributes:
        owners: who trains how much.
        frozen: bytes of what does not train, buffers among it.
        trainable: bytes of what trains.
        gradients: of what trains.
        optimizer: state of the optimiser.
        averages: of what trains and its statistics.
        saved: kept for the backward pass.
        recomputed: by it, in the largest region whose activations are not kept.
        peak: most that is allocated at a time, as CUDA's ``max_memory_allocated`` counts.
        sent: bytes of what this device exchanges with others in an update of one pass: gradients, and the weights that
            FSDP2 gathers; before a collective splits them, so that a ring sends (ranks - 1) / ranks of them, and twice
            that of DDP's gradients.
        clip: multiply-accumulates of a clip's forward pass.
        step: multiply-accumulates of a clip's forward and backward pass.
    """

    owners: list[Share]
    frozen: int
    trainable: int
    gradients: int
    optimizer: int
    averages: int
    saved: int
    recomputed: int
    peak: int
    sent: int
    clip: int
    step: int

    @property
    def counted(self) -> int:
        """Parameters, gradients, optimiser state, averages and saved tensors: what a CPU run can count of itself."""
        return (
            self.frozen
            + self.trainable
            + self.gradients
            + self.optimizer
            + self.averages
            + self.saved
        )


def summarise(task: Task, plan: Plan) -> Summary:
    """Simulate training steps of a copy of ``task``, on tensors without memory.

    Raises:
        ValueError: a bank, whose members stop by the value of their loss.
    """
    if isinstance(task, Bank):
        raise ValueError(
            "summary: the members of a bank stop by the value of their loss; ask for one member at a time"
        )
    with without_memory(task) as copied:
        copied.log = copied.log_dict = _unheard
        batch = plan.batch()

        def loss() -> Tensor:
            with plan.autocast():
                return cast(Tensor, copied.training_step(batch, 0))

        def optimizer() -> Optimizer:
            return copied.optim.optimizer(
                dict(copied.named_parameters()), copied.owners, copied.optim.lr
            )

        tensors = [value for value in batch if isinstance(value, Tensor)]
        # the buckets of DDP stay, and the first pass's gradients are there in the second
        keep = plan.strategy != "one" or plan.passes > 1
        step = simulate(
            copied,
            loss,
            optimizer,
            recomputed=recomputed(copied),
            batch=tensors,
            keep_gradients=keep,
        )
        return _summary(copied, step, plan)


def _unheard(*args: Any, **kwargs: Any) -> None:
    """In the place of ``log``, where there is no Trainer."""


def recomputed(task: Task) -> list[nn.Module]:
    """The modules that are called in checkpointed regions."""
    vit = task.backbone
    blocks = (
        list(vit.blocks)[max(0, vit.frozen_stages - 1) :]
        if vit.activation_checkpointing
        else []
    )
    return [
        *blocks,
        *(module for reader in vit.readers.all() for module in reader.recomputed),
    ]


def _summary(task: Task, step: Step, plan: Plan) -> Summary:
    trains = [p for p in task.parameters() if p.requires_grad]
    fixed = [p for p in task.parameters() if not p.requires_grad]
    shards = plan.ranks if plan.strategy == "fsdp" else 1
    trained = bytes_per_rank(trains, shards)
    held = {
        "frozen": bytes_per_rank(fixed, shards) + size(task.buffers()),
        "trainable": trained,
        "gradients": size(trains)
        if plan.passes > 1
        else trained,  # whole until they are sent
        "optimizer": step.optimizer * trained // max(1, size(trains)),
    }
    parts = 2 * size(trains) + size(fixed) + size(task.buffers()) + step.optimizer
    averages = trained + size(trainable_buffers(task)) if plan.averaged else 0
    units = sorted(
        (size(block.parameters()) for block in task.backbone.blocks), reverse=True
    )
    gathered = sum(units[:_GATHERED]) if plan.strategy == "fsdp" else 0
    return Summary(
        owners=shares(task),
        **held,
        averages=averages,
        saved=step.saved.kept,
        recomputed=step.saved.recomputed,
        peak=step.peak - parts + sum(held.values()) + gathered + averages,
        sent=_sent(task, plan),
        clip=step.forward // plan.clips,
        step=step.step // plan.clips,
    )


def _sent(task: Task, plan: Plan) -> int:
    if plan.ranks == 1:
        return 0
    if plan.strategy == "fsdp":
        return gathered_bytes(task, plan.ranks) + gradient_bytes(
            task, plan.ranks, task.unreachable
        )
    return gradient_bytes(task, 1, task.unreachable) if plan.strategy == "ddp" else 0


def tables(summary: Summary, plan: Plan) -> list[Table]:
    """Who trains what, and what it costs."""
    owners = Table(*Share._fields, title="trainable parameters")
    for row in summary.owners:
        owners.add_row(row.owner, *(f"{value:,}" for value in row[1:]))
    where = f"{plan.ranks} x {plan.strategy}" if plan.ranks > 1 else "one device"
    where += f", {plan.passes} passes an update" if plan.passes > 1 else ""
    cost = Table(
        "cost", "", title=f"{plan.clips} clips a pass, {plan.precision}, {where}"
    )
    for name, told in _TOLD.items():
        cost.add_row(told, _bytes(getattr(summary, name)))
    cost.add_row("forward pass of a clip", f"{summary.clip / 1e9:,.1f} GMAC")
    cost.add_row("training step of a clip", f"{summary.step / 1e9:,.1f} GMAC")
    return [owners, cost]


_TOLD = {
    "frozen": "frozen parameters",
    "trainable": "trainable parameters",
    "gradients": "gradients",
    "optimizer": "optimiser state",
    "averages": "averages",
    "saved": "saved for the backward pass",
    "recomputed": "recomputed in it at a time",
    "peak": "estimated peak",
    "sent": "sent in an update",
}


def _bytes(number: int) -> str:
    return (
        f"{number / MIB:,.1f} MiB"
        if number >= MIB
        else f"{number / 1024:,.1f} KiB"
        if number
        else "0"
    )
