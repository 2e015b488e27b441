"""From the tokens after the last block to one feature a clip. ``N`` is the trunk's own final norm."""

from collections.abc import Callable
from typing import Literal

from einops import rearrange, reduce
from torch import nn

from lightning_petl.shapes import Feature, Frames, Grid, Tokens

Readout = Literal["cls_mean_norm", "norm_cls_mean", "patch_mean", "map"]


class FinalNorm(nn.Module):
    """The trunk's modules behind its last block, adopted under their timm names by ``VideoViT``."""

    norm: nn.Module
    fc_norm: nn.Module
    attn_pool: nn.Module | None
    joint: tuple[nn.Module, ...]
    """From the final norm to the space shared with a text tower; no part of the trunk, but of whoever uses it."""


def cls_mean_norm(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """``N(mean_t cls_t)``, as ST-Adapter."""
    return vit.fc_norm(vit.norm(_frame_mean(x[:, :1], grid)))


def norm_cls_mean(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """``mean_t N(cls_t)``, as AIM."""
    return _frame_mean(vit.fc_norm(vit.norm(x[:, :1])), grid)


def patch_mean(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """``mean_{t,n} N(patch_tn)``; trunks that pool before their norm (``fc_norm``) do so here too."""
    return vit.fc_norm(_frame_mean(vit.norm(x[:, grid.patches]), grid))


def attention_pool(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """``mean_t attention_pool(N(x_t))``, as SigLIP."""
    assert vit.attn_pool is not None
    return _frame_mean(
        rearrange(vit.fc_norm(vit.attn_pool(vit.norm(x))), "bt d -> bt 1 d"), grid
    )


READOUTS: dict[Readout, Callable[[FinalNorm, Tokens, Grid], Feature]] = {
    "cls_mean_norm": cls_mean_norm,
    "norm_cls_mean": norm_cls_mean,
    "patch_mean": patch_mean,
    "map": attention_pool,
}


def frame_tokens(readout: Readout, vit: FinalNorm, x: Tokens, grid: Grid) -> Frames:
    """One token a frame, in front of :func:`final_norm`: the class token, or what the trunk pools instead."""
    if readout == "patch_mean":
        pooled = vit.norm(x[:, grid.patches]).mean(1)
    elif readout == "map":
        assert vit.attn_pool is not None
        pooled = vit.attn_pool(vit.norm(x))
    else:
        pooled = x[:, 0]
    return rearrange(pooled, "(b t) d -> b t d", t=grid.frames)


def final_norm(readout: Readout, vit: FinalNorm, frames: Frames) -> Frames:
    """``N`` of a class token; of pooled tokens, the norm that the trunk has behind its pooling, if any."""
    return vit.fc_norm(frames if readout in ("patch_mean", "map") else vit.norm(frames))


def require(readout: Readout, has_class_token: bool, has_attention_pool: bool) -> None:
    """Raise ``ValueError`` where the trunk lacks what the read-out reads."""
    offered = (
        ["cls_mean_norm", "norm_cls_mean"] * has_class_token
        + ["patch_mean"]
        + ["map"] * has_attention_pool
    )
    if readout not in offered:
        raise ValueError(
            f"readout {readout!r} is not offered by this trunk; it has {', '.join(offered)}"
        )


def _frame_mean(x: Tokens, grid: Grid) -> Feature:
    return reduce(x, "(b t) n d -> b d", "mean", t=grid.frames)
