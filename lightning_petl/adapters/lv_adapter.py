"""Lv-Adapter (Xu et al., CVIU 2024): a reconstruction from the abstract, which names its parts and no equation."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from lightning_petl.adapters.adapter import (
    Adapter,
    require_distinct,
    require_positive,
)
from lightning_petl.adapters.layers.bottleneck import Activation, Bottleneck
from lightning_petl.backbones.block import AdaptedBlock, Slot
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.linear import ScaleDelta
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Grid, Tokens

_SITES: dict[str, tuple[str, Slot]] = {
    "attn": ("attn.proj", "beside_attn"),
    "mlp": ("mlp.fc2", "beside_mlp"),
}


class ScaledBottleneck(Bottleneck):
    """Compute ``v * s W_up f(W_down x)`` with a vector v over the width, init 1."""

    def __init__(
        self, dim: int, bottleneck: int, *, scale: float, activation: Activation
    ) -> None:
        super().__init__(dim, bottleneck, scale=scale, activation=activation)
        self.vector = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tokens, grid: Grid | None = None) -> Tokens:
        return self.vector * super().forward(x)


@dataclass(frozen=True, kw_only=True)
class LvAdapter(Adapter):
    """Compute (a RECONSTRUCTION) ``x <- x' + v * MLP(LN x') + s W_up f(W_down x')``, v init 1, W_up init 0.

    The vector re-scales the frozen branch (what was pre-trained), the linear layers learn beside it. The paper's
    equations are not public; every choice is open. Per block and site ``2 D b + b + D`` plus ``D`` a vector.

    Args:
        bottleneck: width b; 128 gives about 3 % of ViT-B, 160 about 3.5 %.
        scale: s.
        vector_on: ``frozen_branch``, ``adapter_branch`` or ``both``.
        sites: ``mlp``, ``attn`` or both.
        activation: f.
        blocks: the blocks that it goes into.

    Example, 6 blocks of width 64, a vector and 64 -> 16 -> 64 in each::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.LvAdapter(bottleneck=16)])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        13152
    """

    commutes: ClassVar[bool] = False

    bottleneck: int = 128
    scale: float = 0.1
    vector_on: Literal["frozen_branch", "adapter_branch", "both"] = "frozen_branch"
    sites: tuple[Literal["attn", "mlp"], ...] = ("mlp",)
    activation: Activation = "relu"
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        require_positive(bottleneck=self.bottleneck)
        if not self.sites:
            raise ValueError("sites is empty: choose attn, mlp or both")
        require_distinct(sites=self.sites)

    def attach(self, vit: VideoViT) -> None:
        for block in vit.select(self.blocks):
            for site in self.sites:
                self._attach_site(block, vit.dim, *_SITES[site])

    def _attach_site(
        self, block: AdaptedBlock, dim: int, path: str, slot: Slot
    ) -> None:
        if self.vector_on != "adapter_branch":
            block.linear(path).add_delta(self.name, ScaleDelta(dim))
        scaled = self.vector_on != "frozen_branch"
        build = ScaledBottleneck if scaled else Bottleneck
        module = build(
            dim, self.bottleneck, scale=self.scale, activation=self.activation
        )
        block.add(slot, self.name, module)
