"""Visual prompt tuning (Jia et al., ECCV 2022)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from lightning_petl.adapters.adapter import Adapter, require_positive
from lightning_petl.backbones.block import Projection, PromptTable
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.vit import VideoViT


@dataclass(frozen=True, kw_only=True)
class VPT(Adapter):
    """Learn tokens ``P`` beside the patches of every frame; they get no position embedding.

    Deep: block i attends to ``[x; P_i]`` and the prompts' outputs are dropped, ``p D`` parameters a block.
    Shallow: one table enters before the first block and stays to the last, ``p D`` parameters in all. Where in
    the sequence they stand changes nothing; they are appended, so that patches keep their rows.

    Args:
        num_prompts: p.
        deep: per-block prompts or one shallow table.
        init: ``uniform``: U(-v, v) with v = sqrt(6 / (3 P^2 + D)), P the patch size (the paper);
            ``xavier``: v = sqrt(6 / ((p + 1) D)) (AdaptFormer's code).
        dropout: on the prompts.
        project: width q of the prompts before one linear layer, shared by all blocks, brings them to D (weight
            kaiming normal, fan out; v then has q for D). None: no such layer.
        blocks: the blocks of deep prompts.

    Example, 6 blocks of width 64, 4 prompts in front of each::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.VPT(num_prompts=4)])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        1536
    """

    num_prompts: int = 10
    deep: bool = True
    init: Literal["uniform", "xavier"] = "uniform"
    dropout: float = 0.0
    project: int | None = None
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        require_positive(
            num_prompts=self.num_prompts,
            project=1 if self.project is None else self.project,
        )
        if not self.deep and self.blocks != "all":
            raise ValueError(
                f"blocks {self.blocks!r}: shallow prompts pass through all blocks; choose deep: true"
            )

    def attach(self, vit: VideoViT) -> None:
        project = (
            None if self.project is None else self._projection(vit, self.project)
        )
        if not self.deep:
            vit.add_prompt(self.name, self._table(vit, project))
            return
        for block in vit.select(self.blocks):
            block.add_prompt(self.name, self._table(vit, project))

    def _projection(self, vit: VideoViT, width: int) -> Projection:
        linear = nn.Linear(width, vit.dim)
        nn.init.kaiming_normal_(linear.weight, mode="fan_out")
        vit.add_shared(self.name, linear)
        # bound: the trunk owns the layer, or each block would save a copy
        return linear.forward

    def _table(self, vit: VideoViT, project: Projection | None) -> PromptTable:
        width = self.project or vit.dim
        fan = (
            3 * math.prod(vit.patch_size) + width
            if self.init == "uniform"
            else (self.num_prompts + 1) * width
        )
        bound = math.sqrt(6 / fan)
        return PromptTable(
            torch.empty(self.num_prompts, width).uniform_(-bound, bound),
            self.dropout,
            project,
        )
