"""What differs between timm's two families of trunks: the class of their blocks and the names in old files."""

from collections.abc import Mapping
from typing import cast

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, RotaryEmbeddingDinoV3
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.eva_block import (
    AdaptedEvaBlock,
    AdaptedPostNormBlock,
    RopeTable,
)

Trunk = vision_transformer.VisionTransformer | eva.Eva
_EVA_BLOCKS: dict[type[nn.Module], type[AdaptedEvaBlock]] = {
    eva.EvaBlock: AdaptedEvaBlock,
    eva.EvaBlockPostNorm: AdaptedPostNormBlock,
}


def adopted_blocks(model: Trunk) -> nn.ModuleList:
    """Return the trunk's blocks, adopted.

    Raises:
        TypeError: blocks, attention or rotary positions of a class that is not known here.
    """
    blocks = list(cast(nn.Sequential, model.blocks))
    if not isinstance(model, eva.Eva):
        return nn.ModuleList(AdaptedBlock(block) for block in blocks)
    rope = _rope_table(model)
    return nn.ModuleList(
        _EVA_BLOCKS.get(type(block), AdaptedEvaBlock)(block, rope) for block in blocks
    )


def _rope_table(model: eva.Eva) -> RopeTable | None:
    if model.rope is None:
        return None
    if not isinstance(model.rope, RotaryEmbeddingCat | RotaryEmbeddingDinoV3):
        raise TypeError(
            f"rotary positions of class {type(model.rope).__name__} are not the same in every block"
        )
    rope = model.rope.eval()  # in training DINOv3's positions are jittered
    with torch.no_grad():
        return rope.get_embed(
            shape=list(model.patch_embed.grid_size) if model.dynamic_img_size else None
        )


def to_new_names(state: Mapping[str, Tensor], model: Trunk) -> dict[str, Tensor]:
    """Rename what timm itself knows how to rename."""
    if isinstance(model, eva.Eva):
        return eva.checkpoint_filter_fn(dict(state), model)
    return vision_transformer.checkpoint_filter_fn(dict(state), model)
