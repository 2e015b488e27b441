"""From the tokens after the last block to one feature a clip. ``N`` is the trunk's own final norm."""

from collections.abc import Callable
from typing import Literal

from torch import nn

from lightning_petl.backbones.children import Reference
from lightning_petl.shapes import Feature, Frames, Grid, Tokens

Readout = Literal["cls_mean_norm", "norm_cls_mean", "patch_mean", "map"]


class FinalNorm(nn.Module):
    """Hold the trunk's modules behind its last block, which ``VideoViT`` adopts under their timm names."""

    norm: nn.Module
    fc_norm: nn.Module
    attn_pool: nn.Module | None
    joint: Reference[nn.Module] | None
    """The map from the final norm to the space shared with a text tower, if there is one; whoever uses it owns it."""


def cls_mean_norm(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """Return ``N(mean_t cls_t)``, as ST-Adapter."""
    return vit.fc_norm(vit.norm(_frame_mean(x[:, :1], grid)))


def norm_cls_mean(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """Return ``mean_t N(cls_t)``, as AIM."""
    return _frame_mean(vit.fc_norm(vit.norm(x[:, :1])), grid)


def patch_mean(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """Return ``mean_{t,n} N(patch_tn)``; trunks that pool before their norm (``fc_norm``) do so here too."""
    return vit.fc_norm(_frame_mean(vit.norm(x[:, grid.patches]), grid))


def attention_pool(vit: FinalNorm, x: Tokens, grid: Grid) -> Feature:
    """Return ``mean_t attention_pool(N(x_t))``, as SigLIP."""
    assert vit.attn_pool is not None
    pooled = vit.fc_norm(vit.attn_pool(vit.norm(x)))
    return _frame_mean(pooled[:, None], grid)


READOUTS: dict[Readout, Callable[[FinalNorm, Tokens, Grid], Feature]] = {
    "cls_mean_norm": cls_mean_norm,
    "norm_cls_mean": norm_cls_mean,
    "patch_mean": patch_mean,
    "map": attention_pool,
}


def frame_tokens(readout: Readout, vit: FinalNorm, x: Tokens, grid: Grid) -> Frames:
    """Return one token a frame, in front of :func:`final_norm`: the class token, or what the trunk pools instead."""
    if readout == "patch_mean":
        pooled = vit.norm(x[:, grid.patches]).mean(1)
    elif readout == "map":
        assert vit.attn_pool is not None
        pooled = vit.attn_pool(vit.norm(x))
    else:
        pooled = x[:, 0]
    return grid.to_clip(pooled)


def final_norm(readout: Readout, vit: FinalNorm, frames: Frames) -> Frames:
    """Return ``N`` of a class token; of pooled tokens, the norm that the trunk has behind its pooling, if any."""
    return vit.fc_norm(
        frames if readout in ("patch_mean", "map") else vit.norm(frames)
    )


def require(
    readout: Readout, has_class_token: bool, has_attention_pool: bool
) -> None:
    """Raise ``ValueError`` where the trunk lacks what the read-out reads."""
    offered = ["patch_mean"]
    if has_class_token:
        offered = ["cls_mean_norm", "norm_cls_mean", *offered]
    if has_attention_pool:
        offered.append("map")
    if readout not in offered:
        raise ValueError(
            f"readout {readout!r} is not offered by this trunk; it has "
            f"{', '.join(offered)}"
        )


def _frame_mean(x: Tokens, grid: Grid) -> Feature:
    return grid.to_clip(x).mean((1, 2))
