"""What each of two processes does in ``test_distributed``: a module of its own, for ``spawn`` to import."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from lightning_petl.backbones.reachability import unreachable
from tests.laws.methods import METHODS
from tests.tiny import clip, randomised

BATCH, RANKS = 4, 2
Result = tuple[float, dict[str, Tensor]]
NORMED = ["side4video", "side4video_group", "side4video_sync"]
"""One of each kind of statistics: these train too, with the statistics of their batch."""


class Classifier(nn.Module):
    """Trunk, method and a linear head."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.backbone = randomised(METHODS[method])
        torch.manual_seed(0)
        self.head = nn.Linear(self.backbone.feature_dim, 3)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.backbone(video))


def batch() -> tuple[Tensor, Tensor]:
    """Clips and labels for all ranks together."""
    return clip(batch=BATCH), torch.arange(BATCH) % 3


def step(model: nn.Module, video: Tensor, label: Tensor) -> Tensor:
    """Backward of the mean loss."""
    loss = nn.functional.cross_entropy(model(video), label)
    loss.backward()
    return loss.detach()


def trained_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Whole gradients by name; parameters that got none count as zero."""
    result: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = (
                torch.zeros_like(parameter)
                if parameter.grad is None
                else parameter.grad
            )
            result[name] = (
                gradient.full_tensor()
                if isinstance(gradient, DTensor)
                else gradient
            )
    return {name: gradient.detach().clone() for name, gradient in result.items()}


def running_averages(model: nn.Module) -> dict[str, Tensor]:
    """Buffers of batch norms, by name."""
    return {
        name: buffer.clone()
        for name, buffer in model.named_buffers()
        if "running_" in name
    }


def ddp(method: str) -> tuple[nn.Module, nn.Module]:
    """The model and what is called: replicated, gradients averaged."""
    model = Classifier(method)
    unused = bool(unreachable(model.backbone))
    return model, DistributedDataParallel(model, find_unused_parameters=unused)


def training_ddp(method: str) -> tuple[nn.Module, nn.Module]:
    """As :func:`ddp`, in training mode."""
    model, called = ddp(method)
    return model, called.train()


def fsdp(method: str) -> tuple[nn.Module, nn.Module]:
    """The model, sharded block by block."""
    model = Classifier(method)
    mesh = init_device_mesh("cpu", (RANKS,))
    for block in model.backbone.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, model


def run_all(rank: int, store: str, methods: list[str], output: str) -> None:
    """Run every method under both strategies in one process group; rank 0 writes what it saw."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=120),
    )
    try:
        wraps: dict[str, Callable[[str], tuple[nn.Module, nn.Module]]] = {
            "ddp": ddp,
            "fsdp": fsdp,
        }
        results: dict[str, Any] = {
            f"{strategy}-{method}": _step_of_rank(wrap, method, rank)
            for strategy, wrap in wraps.items()
            for method in methods
        }
        results |= {
            f"training-{method}": _step_of_rank(training_ddp, method, rank)
            for method in NORMED
        }
        if rank == 0:
            torch.save(results, output)
    finally:
        dist.destroy_process_group()


def _step_of_rank(
    wrap: Callable[[str], tuple[nn.Module, nn.Module]], method: str, rank: int
) -> Result:
    model, called = wrap(method)
    video, label = (tensor.chunk(RANKS)[rank] for tensor in batch())
    loss = step(called, video, label)
    dist.all_reduce(loss)
    return (loss / RANKS).item(), trained_gradients(model) | running_averages(model)
