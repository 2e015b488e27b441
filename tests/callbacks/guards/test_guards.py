"""The guards stop what they promise to stop, in a real Trainer."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from data_modules.batch import VideoBatch
from data_modules.loading.collate import Collate
from data_modules.sample import Sample
from lightning_petl.adapters import Adapter, AdaptFormer, STAdapter
from lightning_petl.backbones import VideoViT
from lightning_petl.callbacks.guards.frozen_guard import FrozenGuard
from lightning_petl.callbacks.guards.gradient_guard import GradientGuard
from lightning_petl.cost.ownership import OwnedParameters, parameters_by_owner
from lightning_petl.tasks.classification import VideoClassifier


class Clips(Dataset[Sample]):
    """Sixteen random clips of two classes."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        video = torch.randint(
            0, 256, (1, 2, 3, 32, 32), dtype=torch.uint8, generator=generator
        )
        return Sample(video, (index % 2,), str(index), epoch=0)


def model(adapter: Adapter) -> VideoClassifier:
    torch.manual_seed(0)
    trunk = VideoViT(
        "vit_tiny_patch16_224",
        weights="random",
        image_size=32,
        depth=2,
        num_frames=2,
    )
    return VideoClassifier(trunk, [adapter], ["a", "b"])


def fit(
    module: VideoClassifier, folder: Path, *callbacks: Any, steps: int = 4
) -> None:
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=list(callbacks), use_distributed_sampler=False,
    )  # fmt: skip
    loader = DataLoader(Clips(), batch_size=4, collate_fn=Collate())
    trainer.fit(module, loader, loader)


def test_a_sound_stack_passes(tmp_path: Path) -> None:
    fit(model(STAdapter(bottleneck=4)), tmp_path, GradientGuard(), FrozenGuard())


def test_declared_tensors_are_counted_and_stay_exactly_as_they_are(
    tmp_path: Path,
) -> None:
    module = model(STAdapter(bottleneck=4))
    dead = {
        name: p.detach().clone()
        for name, p in module.named_parameters()
        if name in module.unreachable
    }
    # down (192 x 4 + 4), depthwise 3 x 1 x 1 (3 x 4 + 4), up (4 x 192 + 192), before the MLP of the last block
    assert sum(value.numel() for value in dead.values()) == 772 + 16 + 960
    fit(module, tmp_path, GradientGuard())
    gradients = [p.grad for name, p in module.named_parameters() if name in dead]
    assert all(gradient is None or not gradient.any() for gradient in gradients)
    assert parameters_by_owner(module) == [
        OwnedParameters("STAdapter", 24, 4 * 1748, 1748),
        OwnedParameters("head", 2, 2 * 192 + 2, 0),
    ]


def test_a_tensor_without_gradient_stops_the_run_by_name(tmp_path: Path) -> None:
    module = model(AdaptFormer(bottleneck=4))
    layer = module.backbone.get_submodule(
        "blocks.0.slots.beside_mlp.AdaptFormer.up"
    )
    layer.register_parameter("lonely", torch.nn.Parameter(torch.zeros(3)))
    module.backbone.owners["blocks.0.slots.beside_mlp.AdaptFormer.up.lonely"] = (
        "AdaptFormer"
    )
    with pytest.raises(ValueError, match=r"None.*lonely of AdaptFormer"):
        fit(module, tmp_path, GradientGuard())


def test_a_tensor_whose_gradient_stays_zero_stops_the_run(tmp_path: Path) -> None:
    module = model(AdaptFormer(bottleneck=4))
    block = module.backbone.blocks[1]
    # both projections zero: the known dead init, in which only the last bias ever moves
    torch.nn.init.zeros_(
        block.get_submodule("slots.beside_mlp.AdaptFormer.down").weight
    )
    with pytest.raises(
        ValueError, match=r"exactly zero.*blocks\.1\.slots\.beside_mlp\.AdaptFormer"
    ):
        fit(module, tmp_path, GradientGuard())


def test_a_changed_frozen_weight_is_named(tmp_path: Path) -> None:
    class Vandal(VideoClassifier):
        def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
            with torch.no_grad():
                self.backbone.blocks[0].mlp.fc1.weight[0, 0] += 1
            return super().training_step(batch, batch_idx)

    module = model(AdaptFormer(bottleneck=4))
    module.__class__ = Vandal
    with pytest.raises(
        ValueError, match=re.escape("backbone.blocks.0.mlp.fc1.weight")
    ):
        fit(module, tmp_path, FrozenGuard())
