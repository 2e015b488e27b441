"""bf16: a frozen trunk at half the bytes, and autocast, stay near float32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules.loading.collate import Collate
from lightning_petl.adapters import BitFit, LoRA, attach
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import unreachable
from lightning_petl.tasks.classification import VideoClassifier
from tests.callbacks.guards.test_guards import Clips
from tests.laws.methods import KINDS, METHODS, READERS, TEMPORAL
from tests.tiny import clip, frozen, gradients, randomised, tiny_vit, trainable

every_kind = pytest.mark.parametrize("method", KINDS)


def _distance(first: Tensor, second: Tensor) -> float:
    """Relative to the size of the second."""
    return ((first - second).norm() / second.norm()).item()


def _bytes(vit: VideoViT) -> int:
    return sum(p.numel() * p.element_size() for p in frozen(vit).values())


@every_kind
def test_frozen_bf16_trunk(method: str) -> None:
    full, half = (
        randomised(METHODS[method]),
        randomised(METHODS[method], frozen_dtype="bfloat16"),
    )
    assert all(p.dtype == torch.float32 for p in trainable(half).values())
    assert trainable(half).keys() == trainable(full).keys()
    assert _bytes(half) <= 0.51 * _bytes(full)  # the norms stay float32
    feature = half(clip())
    assert feature.dtype == torch.float32
    assert _distance(feature, full(clip())) < 0.02


@every_kind
def test_frozen_bf16_trunk_learns(method: str) -> None:
    half = randomised(METHODS[method], frozen_dtype="bfloat16").train()
    if not trainable(half):
        return
    grads = gradients(half, clip())
    assert all(
        grad is None or (grad.dtype == torch.float32 and grad.isfinite().all())
        for grad in grads.values()
    )
    assert {name for name, grad in grads.items() if grad is None} <= unreachable(
        half
    )


@every_kind
def test_bf16_autocast(method: str) -> None:
    vit = randomised(METHODS[method])
    expected = vit(clip()).detach()
    with torch.autocast("cpu", torch.bfloat16):
        feature = vit(clip())
        if feature.requires_grad:
            feature.square().sum().backward()
    assert feature.dtype == torch.float32
    assert _distance(feature.detach(), expected) < 0.02


class FiniteGradients(Callback):
    """Every trainable tensor has one in each update."""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: Any, optimizer: Any
    ) -> None:
        gradients = {
            name: p.grad
            for name, p in trainable(pl_module).items()
            if name not in pl_module.unreachable
        }
        assert [
            name
            for name, grad in gradients.items()
            if grad is None or not grad.isfinite().all()
        ] == []


@pytest.mark.parametrize("method", sorted((READERS | TEMPORAL) & {*KINDS}))
def test_bf16_training_of_short_clips(method: str, tmp_path: Path) -> None:
    """Two updates, as the command line runs them, on clips of fewer frames than a convolution spans."""
    torch.manual_seed(0)
    model = VideoClassifier(
        tiny_vit(num_frames=2), METHODS[method], ["left", "right"]
    )
    trainer = Trainer(
        accelerator="cpu", precision="bf16-mixed", max_steps=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        use_distributed_sampler=False, limit_val_batches=0, callbacks=[FiniteGradients()],
    )  # fmt: skip
    loader = DataLoader(Clips(), batch_size=4, collate_fn=Collate())
    trainer.fit(model, loader, loader)
    assert trainer.global_step == 2
    assert all(p.isfinite().all() for p in trainable(model).values())


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
