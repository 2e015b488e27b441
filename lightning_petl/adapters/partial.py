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
    """

    blocks: Blocks = "last 1"
    norm: bool = True

    def parameters(self, vit: VideoViT) -> Iterable[nn.Parameter]:
        for block in vit.select(self.blocks):
            yield from block.trunk_parameters()
        if self.norm:
            yield from (*vit.norm.parameters(), *vit.fc_norm.parameters())
