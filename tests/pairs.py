"""Dual encoders of open_clip at toy size, of every family that is read, and open_clip's own models of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import data_modules.compat  # noqa: F401  # before what imports torchvision

# isort: split
import open_clip
import timm
import torch
from timm.models import register_model
from torch import Tensor

from tests.families import SIZES
from tests.tiny import shake

CLIP_IMAGE = {
    "image_size": 32,
    "layers": 2,
    "width": 64,
    "head_width": 16,
    "patch_size": 8,
}
CLIP_TEXT = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 32,
    "heads": 4,
    "layers": 2,
}
SIGLIP_TEXT = {
    "context_length": 16,
    "vocab_size": 500,
    "width": 32,
    "heads": 4,
    "layers": 2,
    "mlp_ratio": 3.5,
}
SIGLIP_TEXT |= {
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
SIGLIP_TEXT |= {
    "hf_tokenizer_name": "nobody/knows-it",
    "tokenizer_kwargs": {"clean": "canonicalize"},
}


def _timm(name: str, pool: str, proj: str | None) -> dict[str, Any]:
    return {
        "image_size": 32,
        "timm_model_name": name,
        "timm_pool": pool,
        "timm_proj": proj,
    }


PAIRS: dict[str, dict[str, Any]] = {
    "toy-quickgelu": {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": CLIP_IMAGE,
        "text_cfg": CLIP_TEXT,
    },
    "toy": {"embed_dim": 24, "vision_cfg": CLIP_IMAGE, "text_cfg": CLIP_TEXT},
    "toy-siglip": {
        "embed_dim": 192,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": _timm("toy_siglip", "map", "none"),
        "text_cfg": SIGLIP_TEXT,
    },
    "toy-siglip2": {
        "embed_dim": 192,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": _timm("toy_siglip", "map", "none"),
        "text_cfg": SIGLIP_TEXT
        | {
            "act_kwargs": {"approximate": "tanh"},
            "proj_type": "none",
            "width": 192,
        },
    },
    "toy-eva": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": _timm("toy_eva", "token", None),
        "text_cfg": CLIP_TEXT,
    },
    "toy-linear": {
        "embed_dim": 24,
        "vision_cfg": _timm("toy_clip", "token", "linear"),
        "text_cfg": CLIP_TEXT,
    },
}


@register_model
def toy_siglip(pretrained: bool = False, **options: Any) -> Any:
    """SigLIP's image tower with two blocks."""
    return timm.create_model("vit_base_patch16_siglip_224", **SIZES | options)


@register_model
def toy_eva(pretrained: bool = False, **options: Any) -> Any:
    """EVA-02-CLIP's image tower with two blocks."""
    return timm.create_model("eva02_base_patch16_clip_224", **SIZES | options)


@register_model
def toy_clip(pretrained: bool = False, **options: Any) -> Any:
    """timm's CLIP image tower with two blocks."""
    return timm.create_model("vit_base_patch16_clip_224", **SIZES | options)


def announce(folder: Path) -> None:
    """Make open_clip know the toy models by their names."""
    for name, config in PAIRS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def theirs(name: str, seed: int = 0) -> Any:
    """open_clip's own model with random weights, and noise on all of them."""
    config = open_clip.get_model_config(name)
    custom = config.pop("custom_text", False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)
        shake(model.parameters(), 0.02)
    return model.eval()


def written(model: Any, path: Path) -> str:
    """The file with its tensors."""
    torch.save(model.state_dict(), path)
    return str(path)


def texts_of(model: Any, count: int = 3) -> Tensor:
    """Random texts for a model, of 5, 6, ... tokens and filling, as its tokenizer would give them."""
    length, vocabulary = model.context_length, model.vocab_size
    ids = torch.randint(
        2,
        vocabulary - 3,
        (count, length),
        generator=torch.Generator().manual_seed(0),
    )
    end, fill = (vocabulary - 1, 0) if vocabulary == 49408 else (1, 1)
    for row, text in enumerate(ids):
        text[4 + row], text[5 + row :] = end, fill
    return ids


def frames_of(model: Any, count: int = 2) -> Tensor:
    """Random normalised frames, as one clip."""
    size = model.visual.image_size
    size = size if isinstance(size, int) else size[0]
    return torch.randn(
        1, count, 3, size, size, generator=torch.Generator().manual_seed(1)
    )


def readout_of(name: str) -> str:
    """How the image tower is read."""
    return "map" if "siglip" in name.lower() else "norm_cls_mean"


def halves(state: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors of the image tower, then the others."""
    yield {key: value for key, value in state.items() if key.startswith("visual.")}
    yield {
        key: value for key, value in state.items() if not key.startswith("visual.")
    }
