"""From the tokens after the last block to one feature a clip. ``N`` is the trunk's own final norm."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from lightning_petl.backbones.children import Reference
from lightning_petl.shapes import Feature, Frames, Grid, Tokens

Readout = Literal[
    "cls_mean_norm", "norm_cls_mean", "patch_mean", "map", "frames_concat"
]
FramePooling = Literal["cls", "patch_mean", "map"]
"""What stands for a frame: its class token, the mean of its patches, or the trunk's attention pool over them."""


class FinalNorm(nn.Module):
    """Hold the trunk's modules behind its last block, which ``VideoViT`` adopts under their timm names.

    Attributes:
        dim: width of a token.
        grid: of the clips that the trunk was built for.
        pooling: what the trunk itself reads of an image.
    """

    dim: int
    grid: Grid
    pooling: FramePooling
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


def frames_concat(vit: FinalNorm, x: Tokens, grid: Grid) -> Float[Tensor, "b s"]:
    """Return ``[N(cls_1), ..., N(cls_t)]``, one frame behind the other, as DINOv2's linear probe of videos.

    Oquab et al., arXiv 2304.07193, section 7.2. Trunks without a class token pool their own way in its place. The
    number of frames is that of the trunk, because the place of a frame decides which weights of a head read it::

        frames   0 1 2   of width 2    ->    feature   0 0 1 1 2 2

    Raises:
        ValueError: clips of another number of frames.
    """
    if grid.frames != vit.grid.frames:
        raise ValueError(
            f"readout 'frames_concat' puts {vit.grid.frames} frames side by side, and these clips have {grid.frames}: "
            "the number of frames is fixed, as the width of the head is; sample as many, or take a readout that "
            "averages over frames, as norm_cls_mean"
        )
    frames = frame_tokens("frames_concat", vit, x, grid)
    return final_norm("frames_concat", vit, frames).flatten(1)


READOUTS: dict[Readout, Callable[[FinalNorm, Tokens, Grid], Feature]] = {
    "cls_mean_norm": cls_mean_norm,
    "norm_cls_mean": norm_cls_mean,
    "patch_mean": patch_mean,
    "map": attention_pool,
    "frames_concat": frames_concat,
}


def feature_width(readout: Readout, vit: FinalNorm) -> int:
    """Return the width of what a read-out reads of a clip."""
    if readout == "frames_concat":
        return vit.grid.frames * vit.dim
    return vit.dim


def frame_pooling(readout: Readout, vit: FinalNorm) -> FramePooling:
    """Return what a read-out reads of each frame."""
    if readout == "frames_concat":
        return vit.pooling
    return readout if readout in ("patch_mean", "map") else "cls"


def frame_tokens(readout: Readout, vit: FinalNorm, x: Tokens, grid: Grid) -> Frames:
    """Return one token a frame, in front of :func:`final_norm`: the class token, or what the trunk pools instead."""
    pooling = frame_pooling(readout, vit)
    if pooling == "patch_mean":
        pooled = vit.norm(x[:, grid.patches]).mean(1)
    elif pooling == "map":
        assert vit.attn_pool is not None
        pooled = vit.attn_pool(vit.norm(x))
    else:
        pooled = x[:, 0]
    return grid.to_clip(pooled)


def final_norm(readout: Readout, vit: FinalNorm, frames: Frames) -> Frames:
    """Return ``N`` of a class token; of pooled tokens, the norm that the trunk has behind its pooling, if any."""
    is_class_token = frame_pooling(readout, vit) == "cls"
    return vit.fc_norm(vit.norm(frames) if is_class_token else frames)


def require(
    readout: Readout, has_class_token: bool, has_attention_pool: bool
) -> None:
    """Raise ``ValueError`` where the trunk lacks what the read-out reads."""
    offered = ["patch_mean"]
    if has_class_token:
        offered = ["cls_mean_norm", "norm_cls_mean", *offered]
    if has_attention_pool:
        offered.append("map")
    offered.append("frames_concat")
    if readout not in offered:
        raise ValueError(
            f"readout {readout!r} is not offered by this trunk; it has "
            f"{', '.join(offered)}"
        )


def _frame_mean(x: Tokens, grid: Grid) -> Feature:
    return grid.to_clip(x).mean((1, 2))
