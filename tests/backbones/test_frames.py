"""What trunk and readers say of every frame of a clip."""

import pytest
import torch
from torch import Tensor, nn

from lightning_petl.adapters import VPT, LoRA, attach
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import (
    unreachable,
    unreachable_from_frames,
)
from lightning_petl.backbones.readers import Reader
from lightning_petl.shapes import Grid
from tests.families import FAMILIES, toy_model, toy_vit
from tests.tiny import FRAMES, clip, shake, tiny_vit, trainable


class _Mean(Reader):
    """The mean token of every frame behind the first block; of a clip, the mean over frames."""

    feature_dim = 192

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.ModuleDict({"0": _Tap()})

    def begin(self, video: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        return torch.empty(0), grid

    def end(self, state: tuple[Tensor, Grid]) -> Tensor:
        return state[0].mean(1)


class _Tap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, state: tuple[Tensor, Grid]) -> tuple[Tensor, Grid]:
        return self.scale * x.mean(1).unflatten(0, (-1, state[1].frames)), state[1]


class _OfFrames(_Mean):
    def frames(self, state: tuple[Tensor, Grid], grid: Grid) -> Tensor:
        return state[0]


def normalised(vit: VideoViT, **options: int) -> Tensor:
    return vit.normalize(clip(**options))


def last_tokens(vit: VideoViT, video: Tensor) -> Tensor:
    x = vit.embed(video)
    for block in vit.blocks:
        x = block(x, vit.grid)
    return x


@torch.no_grad()
def test_the_class_token_in_front_of_the_norm() -> None:
    vit = tiny_vit()
    video = normalised(vit)
    frames = vit.frames(video)
    assert frames.readers == {}
    assert torch.equal(
        frames.trunk, last_tokens(vit, video)[:, 0].unflatten(0, (2, FRAMES))
    )
    weight, bias = vit.norm.weight, vit.norm.bias
    expected = nn.functional.layer_norm(
        frames.trunk, (192,), weight, bias, vit.norm.eps
    )
    torch.testing.assert_close(vit.final_norm(frames.trunk), expected)


SIGLIP, POOLED = (
    "vit_base_patch16_siglip_224",
    "vit_medium_patch16_rope_reg1_gap_256",
)
READ = [(name, "norm_cls_mean") for name in FAMILIES if name != POOLED]
READ += [(name, "patch_mean") for name in [*FAMILIES, SIGLIP]] + [(SIGLIP, "map")]


@pytest.mark.parametrize(("name", "readout"), READ)
@torch.no_grad()
def test_the_feature_is_made_of_the_frames(name: str, readout: str) -> None:
    """The mean of normed class tokens; the norm, if any, of the mean of what is pooled over patches."""
    model = toy_model(name)
    vit = toy_vit(name, model, readout=readout)
    video = normalised(vit)
    frames = vit.frames(video).trunk
    if readout == "norm_cls_mean":
        feature = vit.final_norm(frames).mean(1)
    else:
        feature = vit.final_norm(frames.mean(1, keepdim=True))[:, 0]
    torch.testing.assert_close(feature, vit.features(video))


@torch.no_grad()
def test_the_norm_of_the_mean_comes_from_the_same_frames() -> None:
    vit = tiny_vit(readout="cls_mean_norm")
    video = normalised(vit)
    torch.testing.assert_close(
        vit.final_norm(vit.frames(video).trunk.mean(1, keepdim=True))[:, 0],
        vit.features(video),
    )


@pytest.mark.parametrize("frames", [1, 3])
@torch.no_grad()
def test_frames_do_not_know_of_each_other(frames: int) -> None:
    vit = tiny_vit()
    video = normalised(vit, frames=frames)
    each = [vit.frames(video[:, k : k + 1]).trunk for k in range(frames)]
    torch.testing.assert_close(vit.frames(video).trunk, torch.cat(each, 1))


@torch.no_grad()
def test_readers_answer_for_frames_or_say_the_same_of_all() -> None:
    vit = tiny_vit()
    vit.add_reader("Clip", _Mean())
    vit.add_reader("Frames", _OfFrames())
    video = normalised(vit)
    frames = vit.frames(video)
    assert list(frames.readers) == ["Clip", "Frames"]
    tokens = (
        vit.blocks[0](vit.embed(video), vit.grid).mean(1).unflatten(0, (2, FRAMES))
    )
    torch.testing.assert_close(frames.readers["Frames"], tokens)
    torch.testing.assert_close(
        frames.readers["Clip"], tokens.mean(1, keepdim=True).expand(-1, FRAMES, -1)
    )
    assert torch.equal(frames.trunk, tiny_vit().frames(video).trunk)


def test_a_frozen_trunk_keeps_no_graph() -> None:
    vit = tiny_vit()
    vit.add_reader("Frames", _OfFrames())
    frames = vit.frames(normalised(vit))
    assert not frames.trunk.requires_grad
    assert frames.readers["Frames"].requires_grad
    attach(vit, [LoRA()])
    assert vit.frames(normalised(vit)).trunk.requires_grad


def test_prompts_have_left() -> None:
    vit = tiny_vit(readout="patch_mean")
    attach(vit, [VPT(num_prompts=2, deep=False)])
    assert vit.frames(normalised(vit)).trunk.shape == (2, FRAMES, 192)


@torch.no_grad()
def test_bfloat16_gives_float32() -> None:
    vit, wide = tiny_vit(frozen_dtype="bfloat16"), tiny_vit()
    attach(vit, [LoRA()])
    frames, expected = (
        vit.frames(normalised(vit)).trunk,
        wide.frames(normalised(wide)).trunk,
    )
    assert frames.dtype == vit.final_norm(frames).dtype == torch.float32
    assert (frames - expected).norm() < 0.05 * expected.norm()


def test_wrong_sizes_are_told() -> None:
    with pytest.raises(ValueError, match="the trunk was built for"):
        tiny_vit().frames(torch.zeros(1, 2, 3, 48, 48))


def test_beside_a_reader_all_of_the_trunk_is_reached() -> None:
    """Behind the last tap, a reader alone would leave the trunk unread."""
    vit = tiny_vit()
    vit.add_reader("Frames", _OfFrames())
    attach(vit, [LoRA(targets=("q", "v", "fc1"))])
    shake(trainable(vit).values(), 0.05)
    frames = vit.frames(normalised(vit))
    (
        vit.final_norm(frames.trunk) + frames.readers["Frames"]
    ).square().sum().backward()
    dead = {
        name
        for name, p in trainable(vit).items()
        if p.grad is None or not p.grad.any()
    }
    assert dead == unreachable_from_frames(vit) == set()
    assert unreachable(vit)
