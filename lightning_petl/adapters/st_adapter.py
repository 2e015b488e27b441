"""ST-Adapter (Pan et al., NeurIPS 2022)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lightning_petl.adapters.adapter import (
    Adapter,
    require_distinct,
    require_positive,
)
from lightning_petl.adapters.layers.bottleneck import ACTIVATIONS, Activation
from lightning_petl.adapters.layers.temporal import ClipConv
from lightning_petl.backbones.block import Slot, SlotModule
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Grid, Tokens


class SpatioTemporalBottleneck(SlotModule):
    """Compute ``W_up f(DWConv3d(W_down x))`` over the patches of a clip; the class token is left alone.

    The depthwise convolution has weight and bias 0 at init, the linears keep PyTorch's weights and zero biases:
    the output is 0 at init, and ``W_down`` and ``W_up`` get their first gradient at the second step.
    """

    patches_only = True

    def __init__(
        self,
        dim: int,
        bottleneck: int,
        kernel: tuple[int, int, int],
        activation: Activation,
    ) -> None:
        super().__init__()
        # as many frames and patches come out as go in
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.down = nn.Linear(dim, bottleneck)
        self.conv = ClipConv(
            bottleneck, bottleneck, kernel, padding=padding, groups=bottleneck
        )
        self.activation = ACTIVATIONS[activation]()
        self.up = nn.Linear(bottleneck, dim)
        for tensor in (
            self.down.bias,
            self.conv.weight,
            self.conv.bias,
            self.up.bias,
        ):
            assert tensor is not None
            nn.init.zeros_(tensor)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        z = grid.to_volume(self.down(x[:, grid.patches]))
        z = grid.from_volume(self.activation(self.conv(z)))
        return grid.pad(self.up(z), like=x)


@dataclass(frozen=True, kw_only=True)
class STAdapter(Adapter):
    """Add a depthwise 3-D convolution in a bottleneck, serial, on the residual stream before its norm.

    ``x <- x + W_up f(DWConv3d(W_down x))`` on patches, before attention and/or before the MLP. Per module
    ``2 D w + D + (k + 2) w`` parameters. The released code has no ``f``; the paper's formula shows one.

    Args:
        bottleneck: width w; 384 in the paper.
        kernel: frames, rows, columns; odd. 3x1x1 in the paper's Table 8.
        sites: ``attn``, ``mlp`` or both; the paper's 12x384 is ``mlp`` alone, 24x384 both.
        activation: f, behind the convolution.
        blocks: the blocks that it goes into.

    Example, 6 blocks of width 64, two sites, 64 -> 16, three taps a channel, 16 -> 64::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.STAdapter(bottleneck=16)])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        26304
    """

    bottleneck: int = 384
    kernel: tuple[int, int, int] = (3, 1, 1)
    sites: tuple[Literal["attn", "mlp"], ...] = ("attn", "mlp")
    activation: Activation = "none"
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        require_positive(bottleneck=self.bottleneck)
        if any(size < 1 or size % 2 == 0 for size in self.kernel):
            raise ValueError(
                f"kernel {self.kernel} must be odd, so that the output keeps its frames and patches"
            )
        if not self.sites:
            raise ValueError("sites is empty: choose attn, mlp or both")
        require_distinct(sites=self.sites)

    def attach(self, vit: VideoViT) -> None:
        slots: dict[str, Slot] = {"attn": "before_attn", "mlp": "before_mlp"}
        for block in vit.select(self.blocks):
            for site in self.sites:
                module = SpatioTemporalBottleneck(
                    vit.dim, self.bottleneck, self.kernel, self.activation
                )
                block.add(slots[site], self.name, module)
