"""The text tower that belongs to an image tower of open_clip, and the map into the space that both share."""

import re
from typing import Any, Literal

import torch
from torch import nn

from lightning_petl.backbones.readout import FinalNorm
from lightning_petl.backbones.text import TextFamily, TextTower
from lightning_petl.backbones.weights.open_clip import (
    OF_BOTH,
    PREFIX,
    activation_of,
    eps_of,
    known_options,
    model_config,
    read_towers,
)
from lightning_petl.backbones.weights.pretrained import Weights, fill, weights_hash
from lightning_petl.backbones.weights.tokenizer import Tokenizer, library

# open_clip's names in a text tower -> ours; applied in order
_TEXT_NAMES = [
    (r"^text\.", ""),
    (r"^positional_embedding$", "pos_embed"),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^ln_final\.", "norm."),
    (r"^text_projection$", "projection.weight"),
    (r"^text_projection\.", "projection."),
]
_NOT_TEXT = r"^(visual\.|input_resolution$|context_length$|vocab_size$)"
_OF_TOKENS = {
    "context_length",
    "vocab_size",
    "eos_id",
    "pad_id",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
}
_OF_TEXT = (
    OF_BOTH
    | _OF_TOKENS
    | {"heads", "no_causal_mask", "pool_type", "proj_type", "proj_bias"}
)
# SigLIP's tokenizers end a text with it, and fill the rest with it or with 0
_SIGLIP_END = 1


def projection(vit: FinalNorm) -> nn.Module:
    """Return the map from the trunk's final norm to the space that it shares with its text tower, frozen.

    Raises:
        ValueError: the trunk has no text tower.
    """
    if vit.joint is None:
        raise ValueError(
            "this trunk has no text tower: take a model of open_clip, as open_clip:ViT-B-16-quickgelu"
        )
    return vit.joint.module.requires_grad_(False)


def text_tower(
    name: str, weights: str = "hub", *, context_length: int | None = None
) -> TextTower:
    """Return the text tower of a model of open_clip, frozen.

    Args:
        name: ``open_clip:`` and a model of open_clip.
        weights: as for the image tower.
        context_length: tokens of a text, fewer than the model has been trained with. None: as many.

    Raises:
        ValueError: as for the image tower; a context that is longer, or other than that of a tower whose tokens
            attend to the filling behind a text.
    """
    if not name.startswith(PREFIX):
        raise ValueError(
            f"{name!r} has no text tower: take a model of open_clip, as {PREFIX}ViT-B-16-quickgelu"
        )
    config = model_config(name)
    text = library().CLIPTextCfg(
        **known_options(name, config["text_cfg"], _OF_TEXT)
    )
    length = text.context_length if context_length is None else context_length
    _require_length(name, length, text)
    tower = TextTower(
        embed_dim=config["embed_dim"],
        width=text.width,
        depth=text.layers,
        heads=text.heads,
        context_length=length,
        family=_family(name, config, text),
    )
    tower.name = name
    tower.weights = weights
    if (bias := config.get("init_logit_bias")) is not None:
        tower.logit_bias = nn.Parameter(
            torch.tensor(float(bias)), requires_grad=False
        )
    if (source := read_towers(name, config, weights)) is not None:
        state = _text_state(source.state)
        if len(state.get("pos_embed", ())) == text.context_length:
            state["pos_embed"] = state["pos_embed"][:length]
        fill(tower, state, source.origin, "text tower")
    tower.weights_hash = weights_hash(tower)
    return tower


def _text_state(state: Weights) -> Weights:
    renamed: Weights = {}
    for key, value in state.items():
        if re.search(_NOT_TEXT, key):
            continue
        for pattern, name in _TEXT_NAMES:
            key, replaced = re.subn(pattern, name, key)
            value = value.T if replaced and name == "projection.weight" else value
        renamed[key] = (
            value.reshape(()) if key in ("logit_scale", "logit_bias") else value
        )
    return renamed


def _family(name: str, config: dict[str, Any], text: Any) -> TextFamily:
    if text.pool_type not in ("argmax", "eos", "last"):
        raise ValueError(
            f"{name!r} takes the {text.pool_type!r} token for the text; argmax, eos and last are read"
        )
    ends = {"argmax": TextFamily.end, "eos": text.eos_id, "last": _SIGLIP_END}
    return TextFamily(
        vocabulary=text.vocab_size,
        end=ends[text.pool_type],
        causal=not text.no_causal_mask,
        sentence="last" if text.pool_type == "last" else "end",
        activation=activation_of(config, text),
        mlp_ratio=text.mlp_ratio,
        norm_eps=eps_of(text),
        projection=_projection_of(text),
        tokenizer=Tokenizer(
            text.hf_tokenizer_name, tuple((text.tokenizer_kwargs or {}).items())
        ),
    )


def _projection_of(text: Any) -> Literal["linear", "affine", "none"]:
    if text.proj_type == "none":
        return "none"
    return "affine" if text.proj_bias else "linear"


def _require_length(name: str, length: int, text: Any) -> None:
    if length > text.context_length:
        raise ValueError(
            f"context_length {length} of {name!r}: it has positions for {text.context_length} tokens"
        )
    if length < text.context_length and text.no_causal_mask:
        raise ValueError(
            f"context_length {length} of {name!r}: its tokens attend to the filling behind a text, "
            f"so that it reads {text.context_length} and no fewer (CLIP's towers can be shortened): give "
            f"context_length {text.context_length}, as with --model.joint.context_length={text.context_length}"
        )
