"""STEP: its equation by PyTorch's own attention, the order of frames, initial values, wrong input."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_petl.adapters import STEP, attach
from lightning_petl.adapters.step import FramesInOrder
from lightning_petl.backbones import VideoViT
from lightning_petl.cost.saved_memory import saved_bytes_per_clip
from tests.tiny import adapted, clip, randomised, tiny_vit


def _written_out(vit: VideoViT, video: Tensor, heads: int) -> Tensor:
    """Self-attention over all rows, of which the first is read."""
    reader, dim, tapped = vit.readers["STEP"], vit.dim, []
    z = vit.embed((video.float() / 255 - vit.pixel_mean) / vit.pixel_std)
    for index, block in enumerate(vit.blocks):
        z = block(z, vit.grid)
        if str(index) in reader.taps:
            tapped.append(F.layer_norm(z, (dim,), eps=1e-6))
    frames = torch.cat(tapped, dim=1).unflatten(0, video.shape[:2])
    rows = []
    for number, tokens in enumerate(frames.unbind(1)):
        rows.append(tokens + reader.positions[number])
    x = torch.cat([reader.class_token.expand(len(video), 1, dim), *rows], dim=1)
    y = F.layer_norm(x, (dim,), reader.norm.weight, reader.norm.bias)
    own = reader.attention
    attention = nn.MultiheadAttention(dim, heads, batch_first=True)
    attention.load_state_dict(
        {
            "in_proj_weight": torch.cat([own.q.weight, own.kv.weight]),
            "in_proj_bias": torch.cat([own.q.bias, own.kv.bias]),
            "out_proj.weight": own.proj.weight,
            "out_proj.bias": own.proj.bias,
        }
    )
    return reader.class_token + attention(y, y, y, need_weights=False)[0][:, 0]


@pytest.mark.parametrize("taps", ["last 1", "all", [0]], ids=str)
@pytest.mark.parametrize("save_memory", [True, False])
def test_written_out(taps: Any, save_memory: bool) -> None:
    vit = randomised([STEP(taps=taps, save_memory=save_memory, heads=3)])
    expected = _written_out(vit, clip(), heads=3)
    torch.testing.assert_close(vit(clip()), expected, atol=1e-5, rtol=1e-4)


def test_the_order_is_in_the_positions_alone() -> None:
    """With equal positions any order of frames gives the same; frames move with their positions."""
    vit, order = randomised([STEP()]), [2, 0, 3, 1]
    reader = vit.readers["STEP"]
    plain = vit(clip())
    moved = vit(clip()[:, order])
    assert (moved - plain).abs().max() > 1e-3
    with torch.no_grad():
        reader.positions.copy_(reader.positions[order])
    torch.testing.assert_close(vit(clip()[:, order]), plain, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        reader.positions.copy_(reader.positions[:1].expand(4, -1))
    torch.testing.assert_close(
        vit(clip()[:, order]), vit(clip()), atol=1e-5, rtol=1e-4
    )


def test_initial_values() -> None:
    torch.manual_seed(0)
    reader = FramesInOrder(768, 64, [0], STEP())
    drawn = [reader.positions, reader.class_token]
    drawn += [
        p
        for name, p in reader.attention.named_parameters()
        if name.endswith("weight")
    ]
    for values in drawn:
        assert values.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(values.mean().item()) < 0.003
    for name, values in reader.named_parameters():
        assert not (name.endswith("bias") and values.any())
    assert (reader.norm.weight == 1).all()


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_other_numbers_of_frames_are_refused(frames: int) -> None:
    vit = randomised([STEP()])
    with pytest.raises(
        ValueError,
        match=f"STEP has a position for each of 4 frames; clips have {frames}",
    ):
        vit(clip(frames=frames))


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads 5 do not divide the width 192"):
        attach(tiny_vit(), [STEP(heads=5)])


def test_what_is_kept_for_the_backward_pass() -> None:
    """Of each token its standardized copy, key and value; of the class token its query, too, and little else."""
    vit = adapted([STEP()], image_size=64)
    kept = saved_bytes_per_clip(
        lambda clips: vit(clip(batch=clips, size=64)), recomputed=()
    ).total
    rows = 4 * (1 + 16) + 1
    assert 3 * rows <= kept / (4 * vit.dim) < 3 * rows + 6
