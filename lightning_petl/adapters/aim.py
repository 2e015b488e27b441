"""AIM (Yang et al., ICLR 2023)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from lightning_petl.adapters.adapter import Adapter, require_positive
from lightning_petl.adapters.layers.bottleneck import Bottleneck
from lightning_petl.backbones.block import AdaptedBlock, SlotModule
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Grid, Tokens

TokenMap = Callable[[Tokens], Tokens]


def gelu_adapter(dim: int, bottleneck: int, scale: float = 1.0) -> Bottleneck:
    """Return ``s W_up GELU(W_down x)``: W_down normal with std 0.02, W_up zero, biases zero."""
    adapter = Bottleneck(dim, bottleneck, scale=scale, activation="gelu")
    nn.init.trunc_normal_(adapter.down.weight, std=0.02)
    return adapter


class DropPath(nn.Dropout):
    """Leave out the whole update of a frame with probability p, in training."""

    def forward(self, input: Tokens) -> Tokens:
        # one draw a frame, for all of its tokens
        return input * super().forward(torch.ones_like(input[:, :1, :1]))


class TemporalAdapter(SlotModule):
    """Compute ``A_out(MSA(A_in(LN x^t)))``: the block's own attention among the frames of every position.

    It holds the block's bound methods and owns none of the block's weights. Nothing is rotated over time, and
    prompts of the block take no part.

    Args:
        block: whose norm and attention are used.
        dim: width of the tokens.
        bottleneck: of both adapters.
        two: whether there is ``A_in``, with a skip; ``A_out`` has none.
        drop_path: probability of leaving the update of a frame out.
    """

    def __init__(
        self,
        block: AdaptedBlock,
        dim: int,
        bottleneck: int,
        *,
        two: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        # bound methods: the block must not become a child of what it owns
        self.attn_in = block.attn_in
        self.attend = block.attend
        self.into = gelu_adapter(dim, bottleneck) if two else None
        self.out = gelu_adapter(dim, bottleneck)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        z = grid.frames_of(self.attn_in(x))
        z = self.attend(z if self.into is None else z + self.into(z))
        return self.drop_path(grid.from_frames(self.out(z), like=x))


class NormedAdapter(SlotModule):
    """Compute ``s A(LN x)`` with the block's own norm in front of its MLP."""

    def __init__(
        self, mlp_in: TokenMap, adapter: Bottleneck, drop_path: float
    ) -> None:
        super().__init__()
        self.mlp_in = mlp_in
        self.adapter = adapter
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        return self.drop_path(self.adapter(self.mlp_in(x)))


class TemporalEmbedding(SlotModule):
    """Add one row a frame, init 0, to all tokens of the frame."""

    def __init__(self, frames: int, dim: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(frames, dim))

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        if grid.frames != len(self.rows):
            raise ValueError(
                f"AIM has a position for each of {len(self.rows)} frames; clips have {grid.frames}"
            )
        clips = len(x) // grid.frames
        return self.rows.repeat(clips, 1)[:, None].expand_as(x)


@dataclass(frozen=True, kw_only=True)
class AIM(Adapter):
    """Run the block's frozen attention over time, and adapters behind both attentions and beside the MLP.

    With ``A(z) = W_up GELU(W_down z)`` and x^t the tokens arranged as frames of every position::

        z = x + A_T(MSA(LN1 x^t))          # two temporal adapters: A_T(MSA(g + A_in(g))), g = LN1 x^t
        h = MSA(LN1 z);  y = z + h + A_S(h)
        x = y + MLP(LN2 y) + s A_M(LN2 y)

    A table of one row a frame, init 0, is added to all tokens before the norm in front of the blocks, and the final
    norm trains. The identity at init; blind to the order of frames while the table is 0. Per block 3 or 4 times
    ``2 D b + b + D`` parameters, and ``T D + 2 D``. LN1 and LN2 are what a block has in front: nothing, if its norms
    stand behind (EVA-02-CLIP-E).

    Args:
        bottleneck: width b; None: a quarter of the trunk's width, as published.
        temporal_adapters: 1, or 2 (Something-Something).
        scale: s of the MLP's adapter; 1 on Something-Something, 0.5 elsewhere.
        drop_path: probability of leaving out the temporal and the MLP's update of a frame, growing from 0 in the
            first chosen block to this in the last; 0.2 in the published recipe.
        norm: also train the final norm.
        blocks: the blocks that it goes into.

    Example, 6 blocks of width 64 with three adapters 64 -> 16 -> 64, two frames, the final norm::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.AIM()])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        38560
    """

    bottleneck: int | None = None
    temporal_adapters: Literal[1, 2] = 1
    scale: float = 1.0
    drop_path: float = 0.0
    norm: bool = True
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        require_positive(
            bottleneck=1 if self.bottleneck is None else self.bottleneck
        )

    def attach(self, vit: VideoViT) -> None:
        vit.add_entry(self.name, TemporalEmbedding(vit.grid.frames, vit.dim))
        blocks = vit.select(self.blocks)
        for index, block in enumerate(blocks):
            self._attach_block(
                block, vit.dim, self.drop_path * index / max(1, len(blocks) - 1)
            )
        if self.norm:
            for parameter in (*vit.norm.parameters(), *vit.fc_norm.parameters()):
                parameter.requires_grad_(True)

    def _attach_block(
        self, block: AdaptedBlock, dim: int, drop_path: float
    ) -> None:
        bottleneck = self.bottleneck or dim // 4
        temporal = TemporalAdapter(
            block,
            dim,
            bottleneck,
            two=self.temporal_adapters == 2,
            drop_path=drop_path,
        )
        block.add("before_attn", self.name, temporal)
        block.add("after_attn", self.name, gelu_adapter(dim, bottleneck))
        beside = NormedAdapter(
            block.mlp_in, gelu_adapter(dim, bottleneck, self.scale), drop_path
        )
        block.add("beside_mlp", self.name, beside)
