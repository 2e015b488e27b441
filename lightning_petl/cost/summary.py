"""Estimate what a training will cost each device, before it is queued: no data, no weights, no GPU."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Optimizer

from data_modules.batch import VideoBatch
from lightning_petl.checkpoints.trainable_state import trainable_buffers
from lightning_petl.cost.ownership import (
    OwnedParameters,
    ownership_table,
    parameters_by_owner,
)
from lightning_petl.cost.simulation import StepCost, simulate, size, without_memory
from lightning_petl.distributed.traffic import (
    bytes_per_rank,
    gathered_bytes,
    gradient_bytes,
)
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.task import Task

MIB = 2**20

# FSDP2 prefetches: the unit that computes and the next one are whole at the same time
_GATHERED = 2

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Say how a model will be trained.

    Args:
        clips: of a pass on one device.
        num_frames: of a clip.
        image_size: height and width of a frame, pixels.
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
        """Return the context of the forward pass.

        It is that of the CPU, where the simulation runs; the tensors that it saves are of CUDA's sizes.
        """
        if self.precision not in _AUTOCAST:
            return nullcontext()
        return torch.autocast("cpu", _AUTOCAST[self.precision])

    def batch(self) -> VideoBatch:
        """Return black clips of this size, with label 0 and a caption each."""
        shape = (
            self.clips,
            1,
            self.num_frames,
            3,
            self.image_size,
            self.image_size,
        )
        return VideoBatch(
            video=torch.zeros(shape, dtype=torch.uint8),
            label=torch.zeros(self.clips, dtype=torch.int64),
            clip_id=[str(number) for number in range(self.clips)],
            # of any length: text towers pad captions to a fixed number of tokens
            captions=[("a caption",)] * self.clips,
        )


class Summary(NamedTuple):
    """Hold the cost of a training: bytes of one device, and operations.

    Attributes:
        owners: who trains how much.
        frozen: bytes of what does not train, buffers among it.
        trainable: bytes of what trains.
        gradients: bytes of the gradients of what trains.
        optimizer: bytes of the state of the optimizer.
        averages: bytes of the averages of what trains and its statistics.
        saved: bytes kept for the backward pass.
        recomputed: bytes of the largest region whose activations are computed again in the backward pass.
        peak: most bytes allocated at a time, as CUDA's ``max_memory_allocated`` counts.
        sent: bytes of what this device exchanges with others in an update of one pass: gradients, and the
            weights that FSDP2 gathers. They are counted before a collective splits them: a ring sends
            (ranks - 1) / ranks of them, and twice that of DDP's gradients.
        clip: multiply-accumulates of the forward pass of a clip.
        step: multiply-accumulates of the forward and backward pass of a clip.
    """

    owners: list[OwnedParameters]
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
        """Return the bytes that a run on a CPU can count of itself.

        These are parameters, gradients, optimizer state, averages and saved tensors.
        """
        parameters = self.frozen + self.trainable
        of_updates = self.gradients + self.optimizer + self.averages
        return parameters + of_updates + self.saved


def summarize(task: Task, plan: TrainingPlan) -> Summary:
    """Simulate training steps of a copy of ``task``, on tensors without memory.

    Raises:
        ValueError: ``task`` is a bank, whose members stop by the value of their loss.
    """
    if isinstance(task, Bank):
        raise ValueError(
            "summary: the members of a bank stop by the value of their loss; ask for one member at a time"
        )
    with without_memory(task) as copied:
        # there is no Trainer to log to
        copied.log = _ignore
        copied.log_dict = _ignore
        batch = plan.batch()

        def loss() -> Tensor:
            with plan.autocast():
                return cast(Tensor, copied.training_step(batch, 0))

        def optimizer() -> Optimizer:
            parameters = dict(copied.named_parameters())
            return copied.optim.optimizer(
                parameters, copied.owners, copied.optim.lr
            )

        step = simulate(
            copied,
            loss,
            optimizer,
            recomputed=recomputed(copied),
            batch=[value for value in batch if isinstance(value, Tensor)],
            # the buckets of DDP stay, and the first pass's gradients are there in the second
            keep_gradients=plan.strategy != "one" or plan.passes > 1,
        )
        return _summary(copied, step, plan)


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Do nothing, in the place of ``LightningModule.log``."""


def recomputed(task: Task) -> list[nn.Module]:
    """Return the modules that are called in checkpointed regions."""
    vit = task.backbone
    modules: list[nn.Module] = []
    if vit.activation_checkpointing:
        # blocks in front of all that trains save nothing, so that there is nothing to compute again
        modules += list(vit.blocks)[max(0, vit.frozen_stages - 1) :]
    for reader in vit.readers.all():
        modules += reader.recomputed
    return modules


def _summary(task: Task, step: StepCost, plan: TrainingPlan) -> Summary:
    """Replace what the simulation of one process holds by what a device of the plan holds."""
    trains = [p for p in task.parameters() if p.requires_grad]
    fixed = [p for p in task.parameters() if not p.requires_grad]
    shards = plan.ranks if plan.strategy == "fsdp" else 1
    trained = bytes_per_rank(trains, shards)
    held = {
        "frozen": bytes_per_rank(fixed, shards) + size(task.buffers()),
        "trainable": trained,
        # FSDP2 keeps the gradients of accumulated passes whole until they are sent
        "gradients": size(trains) if plan.passes > 1 else trained,
        "optimizer": step.optimizer * trained // max(1, size(trains)),
    }
    # parameters twice: what trains has a gradient
    simulated = (
        2 * size(trains) + size(fixed) + size(task.buffers()) + step.optimizer
    )
    averages = trained + size(trainable_buffers(task)) if plan.averaged else 0
    peak = step.peak - simulated + sum(held.values()) + averages
    return Summary(
        owners=parameters_by_owner(task),
        **held,
        averages=averages,
        saved=step.saved.kept,
        recomputed=step.saved.recomputed,
        peak=peak + _gathered_at_a_time(task, plan),
        sent=_sent(task, plan),
        clip=step.forward // plan.clips,
        step=step.step // plan.clips,
    )


def _gathered_at_a_time(task: Task, plan: TrainingPlan) -> int:
    """Return the bytes of the largest blocks that are whole at the same time."""
    if plan.strategy != "fsdp":
        return 0
    blocks = [size(block.parameters()) for block in task.backbone.blocks]
    return sum(sorted(blocks, reverse=True)[:_GATHERED])


def _sent(task: Task, plan: TrainingPlan) -> int:
    if plan.ranks == 1 or plan.strategy == "one":
        return 0
    if plan.strategy == "ddp":
        return gradient_bytes(task, 1, task.unreachable)
    gradients = gradient_bytes(task, plan.ranks, task.unreachable)
    return gathered_bytes(task, plan.ranks) + gradients


def tables(summary: Summary, plan: TrainingPlan) -> list[Table]:
    """Return a table of who trains what, and one of what it costs."""
    where = f"{plan.ranks} x {plan.strategy}" if plan.ranks > 1 else "one device"
    where += f", {plan.passes} passes an update" if plan.passes > 1 else ""
    title = f"{plan.clips} clips a pass, {plan.precision}, {where}"
    cost = Table("cost", "", title=title)
    for name, told in _TOLD.items():
        cost.add_row(told, _readable(getattr(summary, name)))
    cost.add_row("forward pass of a clip", f"{summary.clip / 1e9:,.1f} GMAC")
    cost.add_row("training step of a clip", f"{summary.step / 1e9:,.1f} GMAC")
    return [ownership_table(summary.owners, "trainable parameters"), cost]


_TOLD = {
    "frozen": "frozen parameters",
    "trainable": "trainable parameters",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "averages": "averages",
    "saved": "saved for the backward pass",
    "recomputed": "recomputed in it at a time",
    "peak": "estimated peak",
    "sent": "sent in an update",
}


def _readable(number: int) -> str:
    """Return bytes in MiB or KiB."""
    if number >= MIB:
        return f"{number / MIB:,.1f} MiB"
    if number:
        return f"{number / 1024:,.1f} KiB"
    return "0"
