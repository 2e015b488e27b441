"""What mixes frames, against its definition written as loops."""

import math

import pytest
import torch
from torch import Tensor

from lightning_petl.adapters.layers.temporal import (
    MIXINGS,
    ClipConv,
    FrameAttention,
    FrameConv,
    FrameShift,
    frame_sines,
)


def _x(frames: int = 4, width: int = 6) -> Tensor:
    return torch.randn(
        2, frames, 3, width, generator=torch.Generator().manual_seed(0)
    )


def _neighbours(x: Tensor) -> tuple[Tensor, Tensor]:
    """The previous and the next frame, 0 outside the clip."""
    zero = torch.zeros_like(x[:, :1])
    return torch.cat([zero, x[:, :-1]], dim=1), torch.cat([x[:, 1:], zero], dim=1)


def test_convolution_is_a_weighted_sum_of_three_frames() -> None:
    conv, x = FrameConv(6), _x()
    (previous, following), weight = _neighbours(x), conv.weight[:, 0, :, 0]
    expected = (
        weight[:, 0] * previous
        + weight[:, 1] * x
        + weight[:, 2] * following
        + conv.bias
    )
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("width", [6, 7])
def test_shift_moves_half_the_channels_each_way(width: int) -> None:
    x = _x(width=width)
    previous, following = _neighbours(x)
    half = math.ceil(width / 2)
    assert torch.equal(
        FrameShift(width)(x),
        torch.cat([following[..., :half], previous[..., half:]], dim=-1),
    )


@pytest.mark.parametrize(("width", "head"), [(6, 6), (128, 64), (96, 96)])
def test_attention_among_the_frames_of_a_token(width: int, head: int) -> None:
    attention, x = FrameAttention(width), _x(width=width)
    q, k, v = attention.qkv(x + frame_sines(x)).split(width, dim=-1)
    expected = torch.empty_like(x)
    for token in range(x.shape[2]):
        for start in range(0, width, head):
            part = slice(start, start + head)
            scores = (
                q[:, :, token, part] @ k[:, :, token, part].mT / math.sqrt(head)
            )
            expected[:, :, token, part] = scores.softmax(-1) @ v[:, :, token, part]
    torch.testing.assert_close(attention(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("width", [6, 7])
def test_sines_tell_frames_apart(width: int) -> None:
    rows = frame_sines(_x(width=width))
    assert rows.shape == (4, 1, width)
    for t in range(4):
        for channel in range(width):
            angle = t / 10_000 ** (2 * (channel // 2) / width)
            expected = math.cos(angle) if channel % 2 else math.sin(angle)
            assert rows[t, 0, channel].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("frames", [1, 2])
def test_any_number_of_frames(mixing: str, frames: int) -> None:
    x = _x(frames)
    assert MIXINGS[mixing](6)(x).shape == x.shape


# channels, output channels, kernel, stride, groups: a stem of patches, and a depthwise convolution among them
CONVOLUTIONS = {
    "stem": (3, 64, (3, 16, 16), (1, 16, 16), 1),
    "stem_of_five_frames": (3, 64, (5, 16, 16), (1, 16, 16), 1),
    "depthwise": (16, 16, (3, 1, 1), 1, 16),
    "depthwise_of_seven_frames": (16, 16, (7, 3, 3), 1, 16),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("frames", range(1, 9))
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_of_a_convolution_over_frames(
    name: str, frames: int, dtype: torch.dtype
) -> None:
    """Each tap's, of clips shorter and longer than the kernel, against PyTorch's own kernels in float64."""
    channels, width, kernel, stride, groups = CONVOLUTIONS[name]
    inside = int(stride == 1)  # patches are not padded
    padding = (kernel[0] // 2, inside * (kernel[1] // 2), inside * (kernel[2] // 2))
    torch.manual_seed(0)
    conv = ClipConv(
        channels, width, kernel, stride=stride, padding=padding, groups=groups
    )
    x = (
        torch.randn(2, frames, 32, 32, channels).movedim(-1, 1).requires_grad_()
    )  # channels last, as tokens are
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        y = conv(x)
    g = torch.randn_like(y)
    got = torch.autograd.grad(y, [x, *conv.parameters()], g)
    inputs = [
        v.detach().to(dtype).double().requires_grad_()
        for v in (x, *conv.parameters())
    ]
    exact = torch.conv3d(*inputs, stride=stride, padding=padding, groups=groups)
    assert y.shape == exact.shape
    tolerance = 1e-5 if dtype == torch.float32 else 0.01
    assert (y.double() - exact).norm() < tolerance * exact.norm()
    for gradient, expected in zip(
        got, torch.autograd.grad(exact, inputs, g.double()), strict=True
    ):
        assert (gradient.double() - expected).norm() < tolerance * expected.norm()
