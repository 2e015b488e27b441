"""bf16: a frozen trunk at half the bytes, and autocast, stay near float32."""

import pytest
import torch
from torch import Tensor

from lightning_petl.adapters import BitFit, LoRA, attach
from lightning_petl.backbones import VideoViT
from tests.laws.methods import METHODS
from tests.tiny import clip, frozen, gradients, randomised, trainable

every_method = pytest.mark.parametrize("method", METHODS)


def _distance(first: Tensor, second: Tensor) -> float:
    """Relative to the size of the second."""
    return ((first - second).norm() / second.norm()).item()


def _bytes(vit: VideoViT) -> int:
    return sum(p.numel() * p.element_size() for p in frozen(vit).values())


@every_method
def test_frozen_bf16_trunk(method: str) -> None:
    full, half = randomised(METHODS[method]), randomised(METHODS[method], frozen_dtype="bfloat16")
    assert all(p.dtype == torch.float32 for p in trainable(half).values())
    assert trainable(half).keys() == trainable(full).keys()
    assert _bytes(half) <= 0.51 * _bytes(full)  # the norms stay float32
    feature = half(clip())
    assert feature.dtype == torch.float32
    assert _distance(feature, full(clip())) < 0.02


@every_method
def test_frozen_bf16_trunk_learns(method: str) -> None:
    half = randomised(METHODS[method], frozen_dtype="bfloat16").train()
    if not trainable(half):
        return
    grads = gradients(half, clip())
    assert all(grad is None or (grad.dtype == torch.float32 and grad.isfinite().all()) for grad in grads.values())
    assert {name for name, grad in grads.items() if grad is None} <= half.unreachable


@every_method
def test_bf16_autocast(method: str) -> None:
    vit = randomised(METHODS[method])
    expected = vit(clip()).detach()
    with torch.autocast("cpu", torch.bfloat16):
        feature = vit(clip())
        if feature.requires_grad:
            feature.square().sum().backward()
    assert feature.dtype == torch.float32
    assert _distance(feature.detach(), expected) < 0.02


@pytest.mark.parametrize("method", ["lora_qv", "dora", "pissa", "lv_adapter"])
def test_folding_into_bf16(method: str) -> None:
    """Folded in float32, stored as the trunk is stored."""
    vit = randomised(METHODS[method], frozen_dtype="bfloat16")
    before = vit(clip()).detach()
    vit.fold()
    assert vit.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert _distance(vit(clip()).detach(), before) < 0.02


def test_what_a_later_stack_trains_is_float32_again() -> None:
    vit = randomised([LoRA(rank=2)], frozen_dtype="bfloat16")
    attach(vit, [BitFit()])
    assert {p.dtype for p in trainable(vit).values()} == {torch.float32}
