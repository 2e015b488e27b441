"""The attentive probe of V-JEPA 2: published counts, its equations by PyTorch's own attention, initial values."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_petl.adapters import (
    AttentiveProbe,
    LoRA,
    MAdapter,
    Side4Video,
    attach,
)
from lightning_petl.adapters.attentive_probe import Pooler
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import unreachable
from lightning_petl.backbones.readers import Readers
from lightning_petl.cost.saved_memory import saved_bytes_per_clip
from tests.families import toy_vit
from tests.tiny import adapted, clip, gradients, randomised, tiny_vit

PROBE = AttentiveProbe(blocks=2)
CLASSES = 174


@pytest.mark.parametrize(("dim", "count"), [(1024, 49_514_670), (1408, 93_494_190)])
def test_published_counts(dim: int, count: int) -> None:
    """With a head of 174 classes."""
    with torch.device("meta"):
        pooler = Pooler(dim, [0], AttentiveProbe())
    assert (
        sum(p.numel() for p in pooler.parameters()) + (dim + 1) * CLASSES == count
    )


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias)


def _attention(
    dim: int, heads: int, weight: Tensor, bias: Tensor, out: nn.Linear | None
) -> nn.MultiheadAttention:
    """PyTorch's, with given weights; nothing behind it is the identity behind it."""
    attention = nn.MultiheadAttention(dim, heads, batch_first=True)
    own = {"in_proj_weight": weight, "in_proj_bias": bias}
    own["out_proj.weight"] = torch.eye(dim) if out is None else out.weight
    own["out_proj.bias"] = torch.zeros(dim) if out is None else out.bias
    attention.load_state_dict(own)
    return attention


def _mlp(mlp: nn.Module, x: Tensor) -> Tensor:
    return mlp.fc2(F.gelu(mlp.fc1(x)))


def _written_out(vit: VideoViT, video: Tensor, heads: int = 16) -> Tensor:
    probe, dim, tapped = vit.readers["AttentiveProbe"], vit.dim, []
    z = vit.embed((video.float() / 255 - vit.pixel_mean) / vit.pixel_std)
    for index, block in enumerate(vit.blocks):
        z = block(z, vit.grid)
        if str(index) in probe.taps:
            tapped.append(
                F.layer_norm(z, (dim,), eps=1e-6).unflatten(0, video.shape[:2])
            )
    x = torch.cat(tapped, dim=2).flatten(1, 2)
    for block in probe.blocks:
        attention = _attention(
            dim, heads, block.attn.qkv.weight, block.attn.qkv.bias, block.attn.proj
        )
        y = _norm(block.norm1, x)
        x = x + attention(y, y, y, need_weights=False)[0]
        x = x + _mlp(block.mlp, _norm(block.norm2, x))
    q, kv = probe.cross.attn.q, probe.cross.attn.kv
    cross = _attention(
        dim,
        heads,
        torch.cat([q.weight, kv.weight]),
        torch.cat([q.bias, kv.bias]),
        None,
    )
    query, y = probe.query.expand(len(video), 1, dim), _norm(probe.cross.norm1, x)
    y = query + cross(query, y, y, need_weights=False)[0]
    return (y + _mlp(probe.cross.mlp, _norm(probe.cross.norm2, y)))[:, 0]


@pytest.mark.parametrize("taps", ["last 1", "all", [0]], ids=str)
@pytest.mark.parametrize("lean", [True, False])
def test_written_out(taps: Any, lean: bool) -> None:
    vit = randomised([AttentiveProbe(blocks=2, taps=taps, save_memory=lean)])
    torch.testing.assert_close(
        vit(clip()), _written_out(vit, clip()), atol=1e-5, rtol=1e-4
    )


def test_initial_values() -> None:
    torch.manual_seed(0)
    pooler = Pooler(768, [0], AttentiveProbe())
    for number, block in enumerate(pooler.blocks, 1):
        for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
            assert weight.std().item() == pytest.approx(
                0.02 / math.sqrt(2 * number), rel=0.02
            )
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert pooler.cross.mlp.fc2.weight.std().item() == pytest.approx(
        0.02 / math.sqrt(6), rel=0.02
    )
    assert pooler.cross.attn.kv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert pooler.query.std().item() == pytest.approx(0.02, rel=0.1)
    assert not any(
        p.any() for name, p in pooler.named_parameters() if name.endswith("bias")
    )


@pytest.mark.parametrize("positions", [False, True])
def test_order_of_frames(positions: bool) -> None:
    """As published it reads a set of tokens, which an image trunk fills alike in any order."""
    vit = randomised([AttentiveProbe(blocks=1, frame_positions=positions)])
    change = (vit(clip().flip(1)) - vit(clip())).abs().max()
    assert change > 1e-3 if positions else change < 1e-5


@pytest.mark.parametrize("frames", [1, 3])
def test_any_number_of_frames_and_registers(frames: int) -> None:
    vit = toy_vit("vit_small_patch14_reg4_dinov2")
    attach(vit, [AttentiveProbe(frame_positions=True)])
    seen: list[Tensor] = []
    vit.readers["AttentiveProbe"].blocks[0].register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    assert vit(clip(frames=frames)).shape == (2, 192)
    assert seen[0].shape == (2, frames, 5 + 4, 192)


@pytest.mark.parametrize(
    "saving",
    [
        {"save_memory": False},
        {"checkpoint": ("mlp",)},
        {"checkpoint": ("attn", "mlp")},
    ],
    ids=str,
)
def test_savings_change_nothing(saving: dict[str, Any]) -> None:
    base, saved = (
        randomised([LoRA(rank=2), AttentiveProbe(blocks=2, taps="all", **options)])
        for options in ({}, saving)
    )
    tolerance = (
        {"atol": 0, "rtol": 0}
        if "checkpoint" in saving
        else {"atol": 1e-5, "rtol": 1e-4}
    )
    expected = gradients(base, clip())
    for name, gradient in gradients(saved, clip()).items():
        torch.testing.assert_close(gradient, expected[name], **tolerance)


def test_savings_save() -> None:
    def kept(**options: Any) -> int:
        vit = adapted([AttentiveProbe(blocks=2, **options)])
        recomputed = vit.readers["AttentiveProbe"].recomputed
        return saved_bytes_per_clip(
            lambda clips: vit(clip(batch=clips)), recomputed=recomputed
        ).total

    assert (
        kept(checkpoint=("attn", "mlp"))
        < kept(checkpoint=("mlp",))
        < kept()
        < kept(save_memory=False)
    )


def test_beside_lora_both_learn() -> None:
    grads = gradients(randomised([LoRA(rank=2), PROBE]), clip())
    assert all(grad is not None and grad.any() for grad in grads.values())
    assert {name.split(".")[0] for name in grads} == {"blocks", "readers"}


def test_what_lies_behind_its_tap_is_not_reachable() -> None:
    vit = randomised([LoRA(rank=2), AttentiveProbe(blocks=1, taps=[0])])
    dead = {
        name
        for name, grad in gradients(vit, clip()).items()
        if grad is None or not grad.any()
    }
    assert (
        unreachable(vit)
        == dead
        == {name for name in dead if name.startswith("blocks.1.")}
        != set()
    )


def test_clips_permute() -> None:
    vit, video = randomised([PROBE]), clip(batch=3)
    torch.testing.assert_close(
        vit(video[[2, 0, 1]]), vit(video)[[2, 0, 1]], atol=1e-6, rtol=1e-5
    )


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads 7 do not divide the width 192"):
        attach(tiny_vit(), [AttentiveProbe(heads=7)])


@pytest.mark.parametrize(
    "options",
    [{"heads": 0}, {"blocks": -1}, {"checkpoint": ("mlp", "mlp")}],
    ids=str,
)
def test_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be above zero|name one twice"):
        AttentiveProbe(**options)


def test_readers_of_two_widths_are_refused_and_of_one_are_averaged() -> None:
    with pytest.raises(
        ValueError,
        match="AttentiveProbe of width 192 cannot stand beside MAdapter of width 64",
    ):
        adapted([MAdapter(width=64), PROBE])
    stack = [MAdapter(width=192), Side4Video(width=192), PROBE]
    both = randomised(stack)
    alone = []
    for name in both.readers:
        vit = randomised(stack)
        vit.readers = Readers({name: vit.readers[name]})
        alone.append(vit(clip()))
    torch.testing.assert_close(
        both(clip()), torch.stack(alone).mean(0), atol=1e-6, rtol=1e-5
    )
