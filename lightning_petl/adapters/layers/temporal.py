"""What mixes the frames of a clip."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from lightning_petl.adapters.layers.lean_norm import FrameTokens

HEAD_WIDTH = 64
TemporalMixing = Literal["dwconv", "attention", "shift"]


class FrameConv(nn.Conv2d):
    """Convolve each channel over 3 frames, zero outside the clip; 4 numbers a channel."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, (3, 1), padding=(1, 0), groups=width)

    def forward(self, input: FrameTokens) -> FrameTokens:
        return rearrange(
            super().forward(rearrange(input, "b t n d -> b d t n")),
            "b d t n -> b t n d",
        )


class ClipConv(nn.Conv3d):
    """Convolve over the frames, rows and columns of a clip, with a stride of one frame."""

    @override
    def forward(
        self, input: Float[Tensor, "b c t h w"]
    ) -> Float[Tensor, "b d t y x"]:
        # where a clip of several frames is shorter than the kernel, oneDNN (3.12) leaves taps of the weight's bfloat16
        # gradient wrong or unwritten; frames of zeros behind the clip, whose outputs are dropped, change nothing else
        frames = input.shape[2]
        span = self.kernel_size[0]
        if input.device.type != "cpu" or not 1 < frames < span:
            return super().forward(input)
        missing = span - frames
        return super().forward(F.pad(input, (0, 0, 0, 0, 0, missing)))[
            :, :, :-missing
        ]


class FrameAttention(nn.Module):
    """Compute attention of each token among its frames, with sines of the frame's number added in front.

    Heads are 64 wide; a width that is no multiple of it is one head. ``3 d² + 3 d`` parameters.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x: FrameTokens) -> FrameTokens:
        qkv = self.qkv(x + frame_sines(x))
        q, k, v = rearrange(
            qkv, "b t n (x h c) -> x (b n) h t c", x=3, h=self.heads
        )
        return rearrange(
            F.scaled_dot_product_attention(q, k, v),
            "(b n) h t c -> b t n (h c)",
            b=len(x),
        )


class FrameShift(nn.Module):
    """Apply :func:`shift` as a layer without parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: FrameTokens) -> FrameTokens:
        return shift(x)


MIXINGS: dict[TemporalMixing, Callable[[int], nn.Module]] = {
    "dwconv": FrameConv,
    "attention": FrameAttention,
    "shift": FrameShift,
}


def shift(x: FrameTokens) -> FrameTokens:
    """Return the first half of the channels from the next frame, the second from the previous one; 0 outside the clip.

    Of frames 0 to 3 with two channels each, ``a`` and ``b``::

        in     a0 b0   a1 b1   a2 b2   a3 b3
        out    a1 0    a2 b0   a3 b1   0  b2
    """
    following, previous = x.chunk(2, dim=-1)
    following = F.pad(following[:, 1:], (0, 0, 0, 0, 0, 1))
    previous = F.pad(previous[:, :-1], (0, 0, 0, 0, 1, 0))
    return torch.cat([following, previous], dim=-1)


def frame_sines(x: FrameTokens) -> Float[Tensor, "t 1 d"]:
    """Return ``sin(t w_i), cos(t w_i)`` with ``w_i = 10000^(-2 i / d)``, one row for each frame t of x.

    An odd width ends in a sine.
    """
    frames = x.shape[1]
    width = x.shape[-1]
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=x.device) / width)
    angles = torch.arange(frames, device=x.device)[:, None] * rates
    return (
        torch.stack([angles.sin(), angles.cos()], dim=-1)
        .flatten(1)[:, None, :width]
        .to(x.dtype)
    )
