"""What differs between families of published towers: timm's classes, the names in old files, activations."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from timm.layers.activations import QuickGELU
from timm.models import eva, vision_transformer
from torch import Tensor, nn

Trunk = vision_transformer.VisionTransformer | eva.Eva
ClipActivation = Literal["gelu", "gelu_tanh", "quick_gelu"]
ACTIVATIONS: dict[ClipActivation, type[nn.Module] | partial[nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": QuickGELU,
}


def to_new_names(state: Mapping[str, Tensor], model: Trunk) -> dict[str, Tensor]:
    """Rename what timm itself knows how to rename."""
    if isinstance(model, eva.Eva):
        return eva.checkpoint_filter_fn(dict(state), model)
    return vision_transformer.checkpoint_filter_fn(dict(state), model)
