"""With an empty stack, every family of timm's VisionTransformer is timm's own model, to the bit."""

from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from lightning_petl.adapters import attach
from lightning_petl.backbones import VideoViT
from tests.tiny import clip, tiny_vit

FAMILIES = {
    "vit_tiny_patch16_224": 32,
    "vit_base_patch16_clip_quickgelu_224.openai": 32,
    "vit_small_patch14_dinov2": 28,
    "vit_small_patch14_reg4_dinov2": 28,
    "deit3_small_patch16_224": 48,
}
SIGLIP = "vit_base_patch16_siglip_224"
every_family = pytest.mark.parametrize(("name", "size"), FAMILIES.items())


def _timm(vit: VideoViT, size: int, **options: Any) -> VisionTransformer:
    model = timm.create_model(
        vit.name, num_classes=0, depth=vit.depth, img_size=size, **options
    )
    model.load_state_dict(vit.state_dict())
    return model.eval()


def _normalised(vit: VideoViT, video: Tensor) -> Tensor:
    """Frames ``(b t) c h w`` as timm's own transform gives them to its model."""
    config = timm.get_pretrained_cfg(vit.name)
    mean, std = (
        torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std)
    )
    return ((video.float() / 255 - mean) / std).flatten(0, 1)


@every_family
def test_empty_stack_is_timm(name: str, size: int) -> None:
    vit = tiny_vit(name=name, image_size=size)
    attach(vit, [])
    video = clip(frames=1, size=size)
    model = _timm(vit, size)
    assert vit.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(vit(video), model(_normalised(vit, video)))


@every_family
def test_several_frames_are_the_mean_of_their_features(
    name: str, size: int
) -> None:
    vit = tiny_vit(name=name, image_size=size)
    video = clip(frames=3, size=size)
    frames = _timm(vit, size)(_normalised(vit, video)).unflatten(0, (2, 3))
    torch.testing.assert_close(vit(video), frames.mean(1), atol=1e-6, rtol=1e-6)


def test_attention_pool_is_siglip() -> None:
    vit = tiny_vit(name=SIGLIP, readout="map", depth=1)
    video = clip(frames=1)
    model = _timm(vit, 32)
    assert vit.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(
        vit(video), model(_normalised(vit, video)), atol=1e-5, rtol=1e-5
    )


def test_patch_mean_is_average_pooling() -> None:
    vit = tiny_vit(readout="patch_mean")
    video = clip(frames=1)
    model = _timm(vit, 32)
    tokens = model.forward_features(_normalised(vit, video))
    torch.testing.assert_close(
        vit(video), tokens[:, 1:].mean(1), atol=1e-6, rtol=1e-6
    )


def test_patch_mean_of_a_trunk_that_pools_before_its_norm() -> None:
    """timm's average-pooling ViT norms behind the mean (``fc_norm``)."""
    vit = tiny_vit(name="vit_medium_patch16_gap_256", readout="patch_mean", depth=1)
    video = clip(frames=1)
    model = _timm(vit, 32)
    torch.testing.assert_close(
        vit(video), model(_normalised(vit, video)), atol=1e-6, rtol=1e-6
    )


def test_mean_then_norm_differs_from_norm_then_mean() -> None:
    vit = tiny_vit(readout="cls_mean_norm")
    video = clip()
    model = _timm(vit, 32)
    seen: list[Tensor] = []
    model.blocks.register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    model(_normalised(vit, video))
    mean = seen[0][:, 0].unflatten(0, video.shape[:2]).mean(1)
    torch.testing.assert_close(vit(video), model.norm(mean), atol=1e-6, rtol=1e-6)
    assert (vit(video) - tiny_vit()(video)).abs().max() > 1e-3


def test_other_image_size_interpolates_positions_as_timm() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VideoViT(
            "vit_tiny_patch16_224", weights="random", depth=1, image_size=96
        )
        torch.manual_seed(0)
        native = timm.create_model(
            "vit_tiny_patch16_224", num_classes=0, depth=1
        ).eval()
    native.set_input_size(img_size=(96, 96))
    assert vit.grid[1:] == (6, 6, 1)
    assert torch.equal(vit.pos_embed, native.pos_embed)
    assert torch.equal(
        vit.eval()(clip(frames=1, size=96)),
        native(_normalised(vit, clip(frames=1, size=96))),
    )


def test_each_trunk_normalises_with_its_own_statistics() -> None:
    """CLIP's mean and std are not ImageNet's, nor SigLIP's."""
    names = ["vit_base_patch16_clip_quickgelu_224.openai", SIGLIP]
    clip_trunk, siglip = (
        tiny_vit(name=name, depth=1, readout="patch_mean") for name in names
    )
    assert clip_trunk.pixel_mean.flatten().tolist() == pytest.approx(
        [0.48145466, 0.4578275, 0.40821073]
    )
    assert clip_trunk.pixel_std.flatten().tolist() == pytest.approx(
        [0.26862954, 0.26130258, 0.27577711]
    )
    assert siglip.pixel_mean.flatten().tolist() == [0.5] * 3
