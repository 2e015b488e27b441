"""Partial-k: train the last k blocks of the trunk."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from lightning_petl.adapters.adapter import Unfreezing
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.vit import VideoViT


@dataclass(frozen=True, kw_only=True)
class Partial(Unfreezing):
    """Train all weights of the chosen blocks and the final norm (Jia et al., ECCV 2022, baselines).

    Args:
        blocks: the blocks that train.
        norm: also the norm behind the blocks.

    Example, the last block of width 64, its MLP three times as wide, and the final norm::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.Partial()])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        41856
    """

    blocks: Blocks = "last 1"
    norm: bool = True

    def parameters(self, vit: VideoViT) -> Iterable[nn.Parameter]:
        for block in vit.select(self.blocks):
            yield from block.trunk_parameters()
        if self.norm:
            yield from (*vit.norm.parameters(), *vit.fc_norm.parameters())
