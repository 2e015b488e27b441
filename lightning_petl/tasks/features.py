"""Read the features of clips from their pixels, or from what a cache keeps of them."""

from collections.abc import Mapping

from einops import rearrange
from jaxtyping import Float
from lightning.pytorch import Trainer
from torch import Tensor

from data_modules.batch import Features
from lightning_petl.backbones import prefix
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Video


def clip_features(
    vit: VideoViT, video: Video | Features
) -> tuple[Float[Tensor, "bv *q d"], int]:
    """Return the features of all views, ``"(b v) d"``, and the number of views.

    A reader with several queries gives ``"(b v) q d"``.
    """
    if isinstance(video, Mapping):
        return _features_of_cache(vit, video)
    clips = rearrange(video, "b v t c h w -> (b v) t c h w")
    return vit(clips), video.shape[1]


def _features_of_cache(
    vit: VideoViT, cached: Features
) -> tuple[Float[Tensor, "bv *q d"], int]:
    parts: dict[str, Tensor] = {}
    views = 0
    for name, part in cached.items():
        parts[name] = rearrange(part, "b v ... -> (b v) ...")
        views = part.shape[1]
    return prefix.features_from(vit, parts), views


def require_cache_of_trunk(vit: VideoViT, trainer: Trainer) -> None:
    """Compare the cache of features that the data come from, if any, with the trunk.

    Raises:
        ValueError: it is of another trunk, or lacks what this stack needs.
    """
    # a Trainer may be given loaders, and another data module has no cache
    features = getattr(getattr(trainer, "datamodule", None), "features", None)
    if features is not None:
        prefix.require(vit, features.parts)
        names = prefix.needed(vit)
        features.require_trunk(prefix.identity(vit, names), names)
