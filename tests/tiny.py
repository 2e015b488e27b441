"""A trunk that builds in milliseconds, with weights that leave no path dark, and the helpers that every law uses."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from lightning_petl.adapters import Adapter, attach
from lightning_petl.backbones import VideoViT

NAME = "vit_tiny_patch16_224"
DIM, DEPTH, FRAMES, SIZE = 192, 2, 4, 32


def tiny_vit(seed: int = 0, name: str = NAME, **options: Any) -> VideoViT:
    """Return a two-block trunk with random weights, a copy of one that is built once a process.

    timm starts biases at 0, norms at 1 and the class token at 1e-6: noise on all of them lets a test see each.
    """
    settings = {
        "weights": "random",
        "image_size": SIZE,
        "depth": DEPTH,
        "num_frames": FRAMES,
    } | options
    return deepcopy(_built(seed, name, tuple(settings.items())))


@lru_cache(maxsize=16)
def _built(seed: int, name: str, settings: tuple[tuple[str, Any], ...]) -> VideoViT:
    """Build a trunk: a copy takes a fifth of the time."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vit = VideoViT(name, **dict(settings))
        shake(vit.parameters(), 0.05)
    return vit.eval()


def adapted(adapters: Sequence[Adapter], seed: int = 0, **options: Any) -> VideoViT:
    """The tiny trunk with a stack at its initial values."""
    vit = tiny_vit(**options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attach(vit, adapters)
    return vit.eval()


def randomised(
    adapters: Sequence[Adapter], seed: int = 0, **options: Any
) -> VideoViT:
    """The tiny trunk with a stack away from its initial values: no update is zero."""
    vit = adapted(adapters, seed, **options)
    shake_trainable(vit, seed + 1)
    return vit


def shake_trainable(module: nn.Module, seed: int) -> None:
    """Add noise in place to what trains, without a draw from the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shake(trainable(module).values(), 0.05)


def shake(parameters: Iterable[Tensor], std: float) -> None:
    """Add noise in place."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(std * torch.randn_like(parameter))


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that train, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def frozen(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that do not train, by name."""
    return {name: p for name, p in module.named_parameters() if not p.requires_grad}


def clip(
    batch: int = 2, frames: int = FRAMES, size: int = SIZE, seed: int = 0
) -> Tensor:
    """Random uint8 clips ``b t c h w``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        0,
        256,
        (batch, frames, 3, size, size),
        dtype=torch.uint8,
        generator=generator,
    )


def gradients(vit: nn.Module, video: Tensor) -> dict[str, Tensor | None]:
    """Gradients of a fixed, non-symmetric function of the feature."""
    vit.zero_grad(set_to_none=True)
    feature = vit(video)
    weights = torch.linspace(-1, 1, feature.numel()).view_as(feature)
    (feature * weights).sum().backward()
    return {name: p.grad for name, p in vit.named_parameters() if p.requires_grad}


@cache
def trunk_keys() -> frozenset[str]:
    """Names in the state dict of the bare trunk."""
    return frozenset(tiny_vit().state_dict())
