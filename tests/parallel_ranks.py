"""What each of two processes does in ``test_parallel``: a module of its own, for ``spawn`` to import."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.nn.utils import clip_grad_norm_
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lightning_petl.adapters import Adapter, LoRA, MultiTuneV, Side4Video, attach
from lightning_petl.backbones import VideoViT
from lightning_petl.checkpoints.checksums import checksums
from lightning_petl.distributed.sharding import (
    gather_tensor,
    local,
    materialize,
    shard,
)
from lightning_petl.distributed.traffic import gathered_bytes, gradient_bytes
from tests.tiny import FRAMES, SIZE, clip, randomised

RANKS, STEPS = 2, 4
METHODS: dict[str, list[Adapter]] = {
    "lora": [LoRA(rank=2)],
    "lora_behind": [LoRA(rank=2, blocks="last 1")],
    "multi_tunev": [MultiTuneV()],
    "side4video": [Side4Video(width=64, norm="sync", checkpoint=("mlp",))],
}
Losses = list[float]
Tensors = dict[str, Tensor]


class Classifier(nn.Module):
    """Trunk, method, linear head and a scalar, which cannot be shared out."""

    def __init__(self, method: str, frozen_dtype: str = "float32") -> None:
        super().__init__()
        self.backbone = randomised(METHODS[method], frozen_dtype=frozen_dtype)
        self.backbone.cast_frozen()
        torch.manual_seed(0)
        self.head = nn.Linear(self.backbone.feature_dim, 3)
        self.temperature = nn.Parameter(torch.tensor(1.5))

    def forward(self, video: Tensor) -> Tensor:
        return self.temperature * self.head(self.backbone(video))


def train(
    model: nn.Module, rank: int, ranks: int
) -> tuple[Losses, Losses, Tensors]:
    """Clipped and accumulated SGD on the rank's part of each batch.

    Returns:
        mean losses, norms of gradients before they are clipped, and the last whole gradients.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
    losses, norms = Losses(), Losses()
    for step in range(STEPS):
        for passed in range(2):
            if isinstance(model, FSDPModule):
                model.set_requires_gradient_sync(passed == 1)
            video = clip(batch=4, seed=2 * step + passed).chunk(ranks)[rank]
            loss = (
                nn.functional.cross_entropy(
                    model(video), (torch.arange(4) % 3).chunk(ranks)[rank]
                )
                / 2
            )
            loss.backward()
            total = loss.detach()
            if ranks > 1:
                dist.all_reduce(total)
            losses.append(total.item() / ranks)
        sharded = [p for p in trained if p.ndim > 0]
        norms.append(local(gather_tensor(clip_grad_norm_(sharded, 0.5))).item())
        if step < STEPS - 1:
            optimizer.step()
            optimizer.zero_grad()
    return (
        losses,
        norms,
        {
            n: local(gather_tensor(p.grad))
            for n, p in model.named_parameters()
            if p.grad is not None
        },
    )


def equality(method: str, frozen_dtype: str, rank: int) -> dict[str, Any]:
    """A sharded training, and what this rank holds."""
    model = Classifier(method, frozen_dtype)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    shard(model, init_device_mesh("cpu", (RANKS,)))
    shard(model, init_device_mesh("cpu", (RANKS,)))  # a second time changes nothing
    held = {name: local(p).numel() for name, p in model.named_parameters()}
    losses, norms, gradients = train(model, rank, RANKS)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    learnt = {"losses": losses, "norms": norms, "gradients": gradients}
    return learnt | {"sizes": sizes, "held": held, "frozen": frozen}


def scaled(rank: int) -> dict[str, Any]:
    """Float16 with a gradient scaler: the third of three updates overflows, on the second rank alone."""
    model, scaler = (
        Classifier("lora"),
        torch.amp.GradScaler("cpu", init_scale=2.0**10),
    )
    shard(model, init_device_mesh("cpu", (RANKS,)))
    model.temperature.requires_grad_(False)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.05
    )
    weights: list[Tensor] = []
    for step in range(3):
        with torch.autocast("cpu", torch.float16):
            logits = model(clip(batch=4, seed=step).chunk(RANKS)[rank])
        loss = nn.functional.cross_entropy(
            logits.float(), (torch.arange(4) % 3).chunk(RANKS)[rank]
        )
        if step == 2 and rank == 1:
            loss = loss * torch.inf
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        weights.append(local(gather_tensor(model.head.weight)).detach().clone())
    return {"weights": weights, "scale": scaler.get_scale()}


class Collectives(TorchDispatchMode):
    """Counts the bytes of the larger buffer of each collective, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func.namespace == "c10d":
            self.bytes[func._opname] += max(
                t.nbytes for t in tree_iter(args) if isinstance(t, Tensor)
            )
        return func(*args, **(kwargs or {}))


def traffic(method: str, checkpointing: bool, rank: int) -> dict[str, Any]:
    """What a training pass sends, and what is said of it."""
    model = Classifier(method)
    model.backbone.activation_checkpointing = checkpointing
    said = gathered_bytes(model, RANKS), gradient_bytes(model, RANKS)
    shard(model, init_device_mesh("cpu", (RANKS,)))
    assert said == (gathered_bytes(model, RANKS), gradient_bytes(model, RANKS))
    for step in range(2):  # the second is like all that follow
        with Collectives() as collectives:
            model(clip(batch=2, seed=step)).square().sum().backward()
    return {"said": said, "seen": dict(collectives.bytes)}


def anonymous() -> int:
    """Bytes of this process that no file backs."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("RssAnon")
    )
    return int(line.split()[1]) * 1024


def deferred(path: str, name: str, rank: int) -> dict[str, Any]:
    """A trunk of which no rank ever holds more than its share and one tensor, or one block while it builds."""
    mesh = init_device_mesh("cpu", (RANKS,))
    before, building, loading = anonymous(), Peak(), Peak()
    with building:
        vit = VideoViT(
            name,
            weights=path,
            depth=2,
            image_size=SIZE_OF[name],
            num_frames=2,
            deferred=True,
        )
        attach(vit, [LoRA(rank=2)])
        meta = sum(
            p.numel() * p.element_size() for p in vit.parameters() if p.is_meta
        )
        shard(vit, mesh)
    built = anonymous() - before
    with loading:
        materialize(vit, torch.device("cpu"))
    held = sum(local(p).numel() * p.element_size() for p in vit.blocks.parameters())
    with torch.no_grad():
        feature = vit(clip(batch=2, frames=2, size=SIZE_OF[name]))
    sums = {
        name: value
        for name, value in checksums(vit).items()
        if name.startswith("blocks.")
    }
    memory = {
        "building": building.largest - before,
        "built": built,
        "loading": loading.largest - before,
    }
    return memory | {
        "meta": meta,
        "held": held,
        "feature": feature,
        "sums": sums,
        "hash": vit.weights_hash,
    }


SIZE_OF = {"vit_tiny_patch16_224": SIZE, "eva02_enormous_patch14_clip_224": 28}
assert FRAMES > 2


class Peak(TorchDispatchMode):
    """The largest anonymous memory behind any operation within it."""

    largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.largest = max(self.largest, anonymous())
        return result


def run_all(
    rank: int, store: str, tasks: list[tuple[str, tuple[Any, ...]]], output: str
) -> None:
    """Run functions of this module in one process group; every rank writes what it saw."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=300),
    )
    try:
        found = {}
        for name, arguments in tasks:
            function: Callable[..., Any] = globals()[name]
            found["-".join([name, *map(str, arguments)])] = function(
                *arguments, rank
            )
        torch.save(found, f"{output}.{rank}")
    finally:
        dist.destroy_process_group()
