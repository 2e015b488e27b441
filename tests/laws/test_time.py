"""Who sees the order of frames, and that clips of a batch never see each other."""

from itertools import product

import pytest
import torch
from torch import Tensor

from lightning_petl.backbones import VideoViT
from tests.laws.methods import KINDS, METHODS, READERS, TEMPORAL
from tests.tiny import clip, randomised

every_method = pytest.mark.parametrize("method", METHODS)
ORDER = [2, 0, 3, 1]


def _last_tokens(vit: VideoViT, video: Tensor) -> Tensor:
    """Tokens behind the last block, ``b t n d``."""
    seen: list[Tensor] = []
    handle = vit.blocks[-1].register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    vit(video)
    handle.remove()
    return seen[0].detach().unflatten(0, video.shape[:2])


@every_method
def test_frame_permutation(method: str) -> None:
    vit, video = randomised(METHODS[method]), clip()
    tokens, permuted = (
        _last_tokens(vit, video)[:, ORDER],
        _last_tokens(vit, video[:, ORDER]),
    )
    same = torch.allclose(tokens, permuted, atol=1e-5)
    assert same != (method in TEMPORAL - READERS)


@pytest.mark.parametrize(
    ("method", "readout"),
    [
        *product(METHODS, ["norm_cls_mean"]),
        *product(KINDS, ["cls_mean_norm", "patch_mean"]),
    ],
)
def test_feature_ignores_order_unless_temporal(method: str, readout: str) -> None:
    vit, video = randomised(METHODS[method], readout=readout), clip()
    change = (vit(video) - vit(video[:, ORDER])).abs().max()
    assert change > 1e-4 if method in TEMPORAL else change < 1e-5


@every_method
def test_clips_of_a_batch_do_not_mix(method: str) -> None:
    vit, video = randomised(METHODS[method]), clip(batch=3)
    other = video.clone()
    other[1] = clip(batch=1, seed=9)[0]
    before, after = vit(video), vit(other)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], atol=1e-6, rtol=0)
    assert (after[1] - before[1]).abs().max() > 1e-3


@every_method
def test_a_clip_alone_gives_the_same(method: str) -> None:
    vit, video = randomised(METHODS[method]), clip(batch=3)
    torch.testing.assert_close(
        vit(video)[1:2], vit(video[1:2]), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    "method",
    [
        "st_adapter",
        "multi_tunev",
        "lora_qv",
        "side4video",
        "side4video_eva",
        "m_adapter",
        "m_adapter_attention",
        "attentive_probe",
    ],
)
def test_other_numbers_of_frames(method: str) -> None:
    """The trunk takes the number of frames from the clip; one frame is a video, too."""
    vit = randomised(METHODS[method])
    for frames in (1, 2, 7):
        assert vit(clip(frames=frames)).shape == (2, vit.feature_dim)
