"""The bottleneck shared by several methods: ``s W_up f(W_down x)``."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from lightning_petl.backbones.block import SlotModule
from lightning_petl.shapes import Grid, Tokens

Activation = Literal["relu", "gelu", "none"]
BottleneckInit = Literal["lora", "trunc_normal"]

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "none": nn.Identity,
}


class Bottleneck(SlotModule):
    """Compute ``y = s W_up dropout(f(W_down norm_in(x) + b_down)) + s b_up``, then ``norm_out``.

    Args:
        dim: width of the tokens.
        bottleneck: inner width.
        scale: the factor ``s``; ``learnable`` is one number with init 1 (of shape 1, for FSDP2 shards no scalars).
        activation: ``f``.
        dropout: probability, inside.
        init: ``lora``: W_down kaiming uniform (a = sqrt 5), W_up zero, so that the output is 0 at init;
            ``trunc_normal``: both with std 0.02. Biases are zero in both.
        layernorm: a LayerNorm before (``in``) or behind (``out``) the bottleneck.
    """

    def __init__(
        self,
        dim: int,
        bottleneck: int,
        *,
        scale: float | Literal["learnable"] = 1.0,
        activation: Activation = "relu",
        dropout: float = 0.0,
        init: BottleneckInit = "lora",
        layernorm: Literal["none", "in", "out"] = "none",
    ) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(dim) if layernorm == "in" else nn.Identity()
        self.down = nn.Linear(dim, bottleneck)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(bottleneck, dim)
        self.norm_out = nn.LayerNorm(dim) if layernorm == "out" else nn.Identity()
        self.scale = nn.Parameter(torch.ones(1)) if scale == "learnable" else scale
        self._initialize(init)

    def _initialize(self, init: BottleneckInit) -> None:
        if init == "lora":
            nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
            nn.init.zeros_(self.up.weight)
        else:
            nn.init.trunc_normal_(self.down.weight, std=0.02)
            nn.init.trunc_normal_(self.up.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tokens, grid: Grid | None = None) -> Tokens:
        hidden = self.dropout(self.activation(self.down(self.norm_in(x))))
        return self.norm_out(self.scale * self.up(hidden))
