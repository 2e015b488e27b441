"""The read-out of frames in order: what it reads, how wide its head is, and what it refuses."""

import pytest
import torch

from lightning_petl.adapters import LinearProbe, LoRA, Side4Video
from lightning_petl.backbones.prefix import (
    FEATURE,
    features_from,
    identity,
    needed,
    prefix,
)
from lightning_petl.backbones.reachability import unreachable
from lightning_petl.heads.linear import LinearHead
from tests.families import FAMILIES, toy_model, toy_vit
from tests.tiny import (
    DIM,
    FRAMES,
    clip,
    gradients,
    randomised,
    tiny_vit,
)

SIGLIP = "vit_base_patch16_siglip_224"
ORDER = [2, 0, 3, 1]


@torch.no_grad()
def test_it_is_the_feature_of_each_frame_behind_the_other() -> None:
    """A frame alone is a clip whose mean over frames is the frame."""
    vit = tiny_vit(readout="frames_concat")
    mean = tiny_vit(num_frames=1)
    video = clip()
    each = [mean(video[:, [frame]]) for frame in range(FRAMES)]
    torch.testing.assert_close(vit(video), torch.cat(each, dim=1))
    assert vit.feature_dim == FRAMES * DIM


@torch.no_grad()
def test_another_order_of_frames_is_another_order_of_parts() -> None:
    vit = tiny_vit(readout="frames_concat")
    parts = vit(clip()).unflatten(1, (FRAMES, DIM))
    moved = vit(clip()[:, ORDER]).unflatten(1, (FRAMES, DIM))
    torch.testing.assert_close(moved, parts[:, ORDER])


@pytest.mark.parametrize("name", [*FAMILIES, SIGLIP])
@torch.no_grad()
def test_the_mean_of_its_parts_is_what_the_trunk_pools(name: str) -> None:
    """Of a class token, of patches where there is none, or of the trunk's attention pool."""
    model = toy_model(name)
    readout = "patch_mean" if model.cls_token is None else "norm_cls_mean"
    readout = "map" if model.attn_pool is not None else readout
    ordered = toy_vit(name, model, readout="frames_concat")
    video = ordered.normalize(clip(frames=ordered.grid.frames))
    parts = ordered.features(video).unflatten(1, (-1, ordered.dim))
    for frame in range(ordered.grid.frames):
        alone = toy_vit(name, model, readout=readout)
        expected = alone.features(video[:, [frame]])
        torch.testing.assert_close(parts[:, frame], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_another_number_of_frames_is_refused(frames: int) -> None:
    vit = tiny_vit(readout="frames_concat")
    with pytest.raises(
        ValueError, match=f"4 frames side by side, and these clips have {frames}"
    ):
        vit(clip(frames=frames))


def test_the_head_is_as_wide_as_all_frames() -> None:
    vit = tiny_vit(readout="frames_concat")
    head = LinearHead().build_on(vit, ["left", "right", "up"])
    assert head.classifier.weight.shape == (3, FRAMES * DIM)


def test_beside_a_reader_the_reader_is_read() -> None:
    vit = randomised([Side4Video(width=64)], readout="frames_concat")
    assert vit(clip()).shape == (2, vit.feature_dim)
    assert vit(clip(frames=3)).shape == (2, vit.feature_dim)


def test_it_is_kept_in_a_cache_under_its_own_name() -> None:
    vit = randomised([LinearProbe()], readout="frames_concat")
    assert needed(vit) == [FEATURE]
    assert torch.equal(features_from(vit, prefix(vit, clip())), vit(clip()))
    other = identity(tiny_vit(), [FEATURE])
    assert identity(vit, [FEATURE]) == other | {"readout": "frames_concat"}


def test_all_that_trains_in_the_trunk_is_reached() -> None:
    vit = randomised([LoRA(rank=2)], readout="frames_concat").train()
    assert unreachable(vit) == set()
    grads = gradients(vit, clip())
    assert all(grad is not None and grad.any() for grad in grads.values())


@torch.no_grad()
def test_frames_apart_are_its_parts() -> None:
    vit = tiny_vit(readout="frames_concat")
    video = vit.normalize(clip())
    frames = vit.final_norm(vit.frames(video).trunk)
    torch.testing.assert_close(frames.flatten(1), vit.features(video))
