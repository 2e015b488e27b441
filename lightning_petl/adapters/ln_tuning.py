"""LayerNorm tuning: train weight and bias of every norm."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from lightning_petl.adapters.adapter import Unfreezing
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.vit import VideoViT


@dataclass(frozen=True, kw_only=True)
class LNTuning(Unfreezing):
    """Train ``gamma`` and ``beta`` of the norms; ViT-B/16: 38,400 parameters.

    Args:
        outside: also the norms before and behind the blocks.
        blocks: the blocks that it goes into.

    Example, 13 norms of width 64, scale and shift of each::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.LNTuning()])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        1664
    """

    outside: bool = True
    blocks: Blocks = "all"

    def parameters(self, vit: VideoViT) -> Iterable[nn.Parameter]:
        for block in vit.select(self.blocks):
            for part in (*block.parts("norm1"), *block.parts("norm2")):
                yield from block.get_submodule(part.path).parameters()
        if self.outside:
            yield from (
                *vit.norm_pre.parameters(),
                *vit.norm.parameters(),
                *vit.fc_norm.parameters(),
            )
