"""Compute the cross entropy of the views of clips, of which two may be mixed."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from data_modules.batch import Partners
from lightning_petl.shapes import Labels

ViewLogits = Float[Tensor, "b v k"]


def classification_loss(
    logits: ViewLogits,
    label: Labels,
    partners: Partners | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Return ``mean of w CE(logits, label) + (1 - w) CE(logits, partner)``; w = 1 where nothing was mixed.

    Args:
        logits: class scores of each view of each clip.
        label: class index of each clip.
        partners: class index of the clip that each was mixed with, and the weight w of its own (mixup, Zhang et al.,
            2018; CutMix, Yun et al., 2019).
        smoothing: label smoothing, 0 to 1 (Szegedy et al., 2016).
    """
    views = logits.shape[1]
    folded = rearrange(logits, "b v k -> (b v) k")
    own = _by_view(folded, label, views, smoothing)
    if partners is None:
        return own.mean()
    other_label, weight = partners
    other = _by_view(folded, other_label, views, smoothing)
    weight = weight.repeat_interleave(views)
    return (weight * own + (1 - weight) * other).mean()


def _by_view(
    folded: Float[Tensor, "bv k"], label: Labels, views: int, smoothing: float
) -> Float[Tensor, " bv"]:
    labels = label.repeat_interleave(views)
    return cross_entropy(
        folded, labels, label_smoothing=smoothing, reduction="none"
    )
