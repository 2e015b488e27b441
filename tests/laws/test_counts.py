"""Published parameter counts and GMACs on ViT-B/16, built without memory on the meta device."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_petl.adapters import (
    STEP,
    VPT,
    Adapter,
    AdaptFormer,
    BitFit,
    FullFineTuning,
    LinearProbe,
    LNTuning,
    LoRA,
    LvAdapter,
    MultiTuneV,
    Partial,
    STAdapter,
    attach,
)
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import unreachable
from tests.tiny import trainable

CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
VIT = "vit_base_patch16_224"
SSV2_HEAD = (768 + 1) * 174
BLOCK = 7_087_872


@cache
def _base(name: str, **options: Any) -> VideoViT:
    with torch.device("meta"):
        return VideoViT(name, weights="random", **options)


def _count(name: str, *stack: Adapter) -> int:
    with torch.device("meta"):
        vit = VideoViT(name, weights="random")
        attach(vit, stack)
    return sum(p.numel() for p in trainable(vit).values())


_ALL = ("q", "k", "v", "o", "fc1", "fc2")
_SHARED = LoRA(targets=("q", "k", "v"), fused="shared")


# fmt: off
_PUBLISHED: list[tuple[int, str, Adapter]] = [
    (0, CLIP, LinearProbe()),
    (85_798_656, VIT, FullFineTuning()),
    (85_799_424, CLIP, FullFineTuning()),
    (BLOCK + 1_536, VIT, Partial()),
    (4 * BLOCK + 1_536, VIT, Partial(blocks="last 4")),
    (38_400, VIT, LNTuning()),
    (39_936, CLIP, LNTuning()),  # and norm_pre
    (592_512, CLIP, STAdapter(sites=("mlp",), blocks="last 1")),
    (7_110_144, CLIP, STAdapter(sites=("mlp",))),
    (14_220_288, CLIP, STAdapter()),
    (27_660, VIT, AdaptFormer(bottleneck=1)),
    (82_992, VIT, AdaptFormer(bottleneck=4)),
    (304_320, VIT, AdaptFormer(bottleneck=16)),
    (1_189_632, VIT, AdaptFormer()),
    (4_730_880, VIT, AdaptFormer(bottleneck=256)),
    (102_912, VIT, BitFit()),
    (102_912, CLIP, BitFit()),
    (101_376, CLIP, BitFit(outside=False)),
    (82_944, CLIP, BitFit(targets=("q", "k", "v", "fc1", "fc2", "norm2"), outside=False)),
    (38_400, VIT, VPT(num_prompts=50, deep=False)),
    (460_800, VIT, VPT(num_prompts=50)),
    (92_160, VIT, VPT(num_prompts=10)),
    (294_912, VIT, LoRA()),
    (589_824, VIT, LoRA(rank=16)),
    (442_368, VIT, LoRA(targets=("q", "k", "v"))),
    (589_824, VIT, LoRA(targets=("q", "k", "v", "o"))),
    (294_912, VIT, _SHARED),
    (322_560, VIT, replace(_SHARED, dora=True)),
    # peft's 454,656 and 1,191,936 hold 12,288 of the patch embedding, which its target "proj" matches too
    (454_656 - 12_288, VIT, replace(_SHARED, targets=("q", "k", "v", "o"))),
    (1_191_936 - 12_288, VIT, replace(_SHARED, targets=_ALL)),
    (2_379_264, VIT, LvAdapter()),
    (16_087_470 - SSV2_HEAD, CLIP, MultiTuneV()),
    (4 * 768**2 + (7 + 8) * 768, CLIP, STEP()),
]
# fmt: on


@pytest.mark.parametrize(("count", "name", "adapter"), _PUBLISHED, ids=str)
def test_published_count(count: int, name: str, adapter: Adapter) -> None:
    assert _count(name, adapter) == count


def test_larger_trunk() -> None:
    """24 ST-Adapters of 384 a site in ViT-L/14: 18.95 M."""
    count = _count(
        "vit_large_patch14_clip_quickgelu_224.openai", STAdapter(sites=("mlp",))
    )
    assert count == 24 * (2 * 1024 * 384 + 1024 + 5 * 384)
    assert round(count / 1e6, 2) == 18.95


@pytest.mark.parametrize(
    ("readout", "count"),
    [
        ("norm_cls_mean", 592_512),
        ("cls_mean_norm", 592_512),
        ("frames_concat", 592_512),
        ("patch_mean", 0),
    ],
)
def test_unreachable_parameters_of_st_adapter(readout: str, count: int) -> None:
    """The published model has these dead parameters too: the last block's adapter before the MLP."""
    with torch.device("meta"):
        vit = VideoViT(CLIP, weights="random", readout=readout)
        attach(vit, [STAdapter()])
    assert sum(trainable(vit)[name].numel() for name in unreachable(vit)) == count


def _gmacs(vit: VideoViT, frames: int) -> float:
    video = torch.empty(1, frames, 3, 224, 224, device="meta")
    # not under no_grad: there the counter's hooks fail on a module that returns its own parameter (idle dropout)
    with FlopCounterMode(display=False) as counter:
        vit.features(video)
    return counter.get_total_flops() / 2 / 1e9  # a multiply-add is two operations


def _trunk_gmacs(tokens: int = 197) -> float:
    """``L (12 n D^2 + 2 n^2 D)`` and the patch embedding, of one frame."""
    n, d = tokens, 768
    return (12 * (12 * n * d**2 + 2 * n**2 * d) + 196 * d * 768) / 1e9


@pytest.mark.parametrize(
    ("frames", "gmacs"), [(1, 17.563), (8, 140.50), (16, 281.01), (32, 562.02)]
)
def test_trunk_gmacs(frames: int, gmacs: float) -> None:
    assert _gmacs(_base(CLIP), frames) == pytest.approx(
        frames * _trunk_gmacs(), rel=1e-6
    )
    assert frames * _trunk_gmacs() == pytest.approx(gmacs, abs=0.006)


@pytest.mark.parametrize(
    ("adapter", "frames", "gmacs"),
    [
        (STAdapter(sites=("mlp",)), 8, 151.62),
        (STAdapter(sites=("mlp",)), 32, 606.5),
        (STAdapter(), 8, 162.7),
        (STAdapter(), 32, 651.0),
        (AdaptFormer(), 8, 140.50 + 1.86),
        (VPT(num_prompts=10, deep=False), 1, 18.49),
        (VPT(num_prompts=100, deep=False), 1, 26.97),
        (MultiTuneV(), 8, 165.9),
    ],
    ids=str,
)
def test_method_gmacs(adapter: Adapter, frames: int, gmacs: float) -> None:
    with torch.device("meta"):
        vit = VideoViT(CLIP, weights="random")
        attach(vit, [adapter])
    assert _gmacs(vit, frames) == pytest.approx(gmacs, rel=5e-4)
