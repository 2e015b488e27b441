"""What mixes frames, against its definition written as loops."""

import math

import pytest
import torch
from torch import Tensor

from lightning_petl.adapters.frames import MIXINGS, FrameAttention, FrameConv, FrameShift, frame_sines


def _x(frames: int = 4, width: int = 6) -> Tensor:
    return torch.randn(2, frames, 3, width, generator=torch.Generator().manual_seed(0))


def _neighbours(x: Tensor) -> tuple[Tensor, Tensor]:
    """The previous and the next frame, 0 outside the clip."""
    zero = torch.zeros_like(x[:, :1])
    return torch.cat([zero, x[:, :-1]], dim=1), torch.cat([x[:, 1:], zero], dim=1)


def test_convolution_is_a_weighted_sum_of_three_frames() -> None:
    conv, x = FrameConv(6), _x()
    (previous, following), weight = _neighbours(x), conv.weight[:, 0, :, 0]
    expected = weight[:, 0] * previous + weight[:, 1] * x + weight[:, 2] * following + conv.bias
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("width", [6, 7])
def test_shift_moves_half_the_channels_each_way(width: int) -> None:
    x = _x(width=width)
    previous, following = _neighbours(x)
    half = math.ceil(width / 2)
    assert torch.equal(FrameShift(width)(x), torch.cat([following[..., :half], previous[..., half:]], dim=-1))


@pytest.mark.parametrize(("width", "head"), [(6, 6), (128, 64), (96, 96)])
def test_attention_among_the_frames_of_a_token(width: int, head: int) -> None:
    attention, x = FrameAttention(width), _x(width=width)
    q, k, v = attention.qkv(x + frame_sines(x)).split(width, dim=-1)
    expected = torch.empty_like(x)
    for token in range(x.shape[2]):
        for start in range(0, width, head):
            part = slice(start, start + head)
            scores = q[:, :, token, part] @ k[:, :, token, part].mT / math.sqrt(head)
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
