"""AdaptFormer (Chen et al., NeurIPS 2022)."""

from dataclasses import dataclass
from typing import Literal

from lightning_petl.adapters.adapter import Adapter, require_positive
from lightning_petl.adapters.layers.bottleneck import (
    Activation,
    Bottleneck,
    BottleneckInit,
)
from lightning_petl.backbones.block import Slot
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.vit import VideoViT

_SLOTS: dict[str, Slot] = {
    "parallel": "beside_mlp",
    "sequential": "after_mlp",
    "after_block": "after_block",
}


@dataclass(frozen=True, kw_only=True)
class AdaptFormer(Adapter):
    """Compute ``x <- x' + MLP(LN x') + s W_up dropout(ReLU(W_down x'))`` with x' not normalized.

    Per block ``2 D b + b + D`` parameters.

    Args:
        bottleneck: width b; 64 in the paper.
        scale: s; 0.1 in the paper, or ``learnable`` with init 1.
        placement: ``parallel`` to the MLP (the paper), ``sequential`` behind the MLP before its residual sum
            (an option of the released code), ``after_block`` behind the sum (Multi-TuneV).
        init: ``lora`` (the paper: identity at init) or ``trunc_normal`` (what the released video code does).
        dropout: 0.1 in the released image model, 0 in the video model.
        activation: ReLU in the paper.
        layernorm: a LayerNorm ``in`` front of or ``out`` behind the bottleneck.
        blocks: the blocks that it goes into.

    Example, 6 blocks of width 64, weights and biases of 64 -> 8 -> 64::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.AdaptFormer(bottleneck=8)])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        6576
    """

    bottleneck: int = 64
    scale: float | Literal["learnable"] = 0.1
    placement: Literal["parallel", "sequential", "after_block"] = "parallel"
    init: BottleneckInit = "lora"
    dropout: float = 0.0
    activation: Activation = "relu"
    layernorm: Literal["none", "in", "out"] = "none"
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        require_positive(bottleneck=self.bottleneck)

    def attach(self, vit: VideoViT) -> None:
        for block in vit.select(self.blocks):
            module = Bottleneck(
                vit.dim,
                self.bottleneck,
                scale=self.scale,
                activation=self.activation,
                dropout=self.dropout,
                init=self.init,
                layernorm=self.layernorm,
            )
            block.add(_SLOTS[self.placement], self.name, module)
