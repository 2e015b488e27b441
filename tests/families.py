"""Every kind of trunk at one toy size: width 192, two blocks, four patches."""

from copy import deepcopy
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import timm
import torch
from torch import nn

from lightning_petl.backbones import VideoViT
from tests.tiny import DEPTH, FRAMES, SIZE, shake

SIZES: dict[str, Any] = {
    "embed_dim": 192,
    "depth": DEPTH,
    "num_heads": 3,
    "patch_size": 16,
    "img_size": SIZE,
}
EVA: dict[str, dict[str, Any]] = {
    "eva02_base_patch16_clip_224": {},  # q, k and v apart, inner norms, SwiGLU, rotary positions
    "eva02_tiny_patch14_224": {},  # fused, biases of q and v, packed SwiGLU, rotary positions, average pooling
    "eva_giant_patch14_clip_224": {
        "mlp_ratio": 4
    },  # fused, GELU, no rotary positions
    "eva02_enormous_patch14_clip_224": {
        "mlp_ratio": 4
    },  # norms behind attention and MLP
    "vit_small_patch16_dinov3": {},  # no biases, registers, LayerScale, any image size
    "vit_medium_patch16_rope_reg1_gap_256": {},  # no class token, no table of positions
}
VIT: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "vit_base_patch16_clip_quickgelu_224.openai": {},
    "vit_small_patch14_reg4_dinov2": {},
}
FAMILIES = VIT | EVA


def toy_model(name: str, seed: int = 0, **options: Any) -> Any:
    """Return timm's own model with noise on every parameter, a copy of one that is built once a process."""
    return deepcopy(_built(name, seed, tuple(options.items())))


@lru_cache(maxsize=16)
def _built(name: str, seed: int, options: tuple[tuple[str, Any], ...]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = timm.create_model(
            name, num_classes=0, **SIZES | FAMILIES.get(name, {}) | dict(options)
        )
        shake(model.parameters(), 0.05)
    return model.eval()


def toy_vit(name: str, model: nn.Module | None = None, **options: Any) -> VideoViT:
    """The trunk that adopts such a model."""
    model = model or toy_model(name)
    settings = {
        "weights": "random",
        "num_frames": FRAMES,
        "readout": readout_of(model),
    } | options
    with patch("lightning_petl.backbones.vit.load_trunk", lambda *_: model):
        return VideoViT(name, **settings).eval()


def readout_of(model: Any) -> str:
    """The class token where there is one."""
    return "patch_mean" if model.cls_token is None else "norm_cls_mean"
