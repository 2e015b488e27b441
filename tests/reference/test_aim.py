"""AIM against outputs of the released code (taoyang1122/adapt-image-models, two temporal adapters, eval mode).

The golden file's names are the released ones; every one of them is used.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lightning_petl.adapters import AIM, VPT, LoRA, attach
from lightning_petl.backbones import VideoViT, vit
from lightning_petl.backbones.weights.pretrained import load_weights
from tests.tiny import adapted, clip, randomised, shake, tiny_vit, trainable

NAME = "vit_base_patch16_clip_quickgelu_224.openai"
GOLDEN = load_file(Path(__file__).parent / "aim_ssv2.safetensors")
WEIGHTS = {
    key.removeprefix("weights/"): value
    for key, value in GOLDEN.items()
    if key.startswith("weights/")
}
SSV2 = AIM(temporal_adapters=2)
_PUBLISHED = {
    "before_attn.AIM.into": "T_Adapter_in",
    "before_attn.AIM.out": "T_Adapter",
    "after_attn.AIM": "S_Adapter",
    "beside_mlp.AIM.adapter": "MLP_Adapter",
}


def _published_name(name: str) -> str:
    """``blocks.0.slots.before_attn.AIM.into.down.weight`` in the released code."""
    if name == "entry.AIM.rows":
        return "temporal_embedding"
    if name.startswith("norm."):
        return name.replace("norm.", "ln_post.")
    _, block, _, path = name.split(".", 3)
    module, layer, kind = path.rsplit(".", 2)
    return f"transformer.resblocks.{block}.{_PUBLISHED[module]}.D_fc{1 if layer == 'down' else 2}.{kind}"


@pytest.fixture
def golden_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoViT:
    """CLIP at toy size with AIM, both with the golden file's weights."""
    sizes: dict[str, Any] = {
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 4,
        "patch_size": 8,
        "img_size": 32,
    }
    trunk = timm.create_model(NAME, num_classes=0, **sizes)
    clip_weights = {
        k: v
        for k, v in WEIGHTS.items()
        if "Adapter" not in k and k != "temporal_embedding"
    }
    save_file(clip_weights, tmp_path / "clip.safetensors")
    load_weights(trunk, tmp_path / "clip.safetensors")
    monkeypatch.setattr(vit, "load_trunk", lambda name, weights, depth: trunk)
    model = VideoViT(NAME, num_frames=4)
    attach(model, [SSV2])
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(WEIGHTS[_published_name(name)].squeeze(0))
    return model.eval()


def test_every_published_weight_is_used(golden_model: VideoViT) -> None:
    used = {_published_name(name) for name in trainable(golden_model)}
    expected = {
        key
        for key in WEIGHTS
        if "Adapter" in key or key.startswith(("temporal_embedding", "ln_post"))
    }
    assert used == expected


def test_class_token_of_every_frame(golden_model: VideoViT) -> None:
    seen: list[Tensor] = []
    golden_model.norm.register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    feature = golden_model.features(GOLDEN["input/video"])
    expected = GOLDEN["output/feature"][..., 0, 0].mT
    torch.testing.assert_close(
        seen[0].reshape(2, 4, 64), expected, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(feature, expected.mean(1), atol=1e-5, rtol=1e-5)


def _block(
    block: Any, aim: dict[str, Tensor], x: Tensor, frames: int, scale: float
) -> Tensor:
    """One block of the released code, one temporal adapter, on tokens ``(b t) n d``."""

    def adapter(slot: str, z: Tensor) -> Tensor:
        down, up = (aim[f"{slot}.{layer}.weight"] for layer in ("down", "up"))
        hidden = torch.nn.functional.gelu(z @ down.T + aim[f"{slot}.down.bias"])
        return hidden @ up.T + aim[f"{slot}.up.bias"]

    batch, rows, dim = x.shape[0] // frames, *x.shape[1:]
    over_time = (
        block.norm1(x)
        .reshape(batch, frames, rows, dim)
        .transpose(1, 2)
        .reshape(-1, frames, dim)
    )
    h = (
        block.attn(over_time)
        .reshape(batch, rows, frames, dim)
        .transpose(1, 2)
        .reshape(x.shape)
    )
    x = x + adapter("before_attn.AIM.out", h)
    h = block.attn(block.norm1(x))
    x = x + h + adapter("after_attn.AIM", h)
    z = block.norm2(x)
    return x + block.mlp(z) + scale * adapter("beside_mlp.AIM.adapter", z)


def test_block_with_one_temporal_adapter() -> None:
    model = randomised([AIM(bottleneck=8, scale=0.5, blocks=[0])])
    aim = {
        name.removeprefix("blocks.0.slots."): p
        for name, p in trainable(model).items()
        if "slots" in name
    }
    x = torch.randn(8, 5, 192)
    plain = tiny_vit().blocks[0]
    expected = _block(plain, aim, x, frames=4, scale=0.5)
    torch.testing.assert_close(
        model.blocks[0](x, model.grid), expected, atol=1e-5, rtol=1e-5
    )


def test_table_of_frames_enters_before_the_first_norm() -> None:
    model = adapted([AIM(bottleneck=8)], name=NAME, depth=1)
    model.entry["AIM"].rows.data.normal_()
    frames = torch.randn(2, 4, 3, 32, 32)
    trunk = tiny_vit(name=NAME, depth=1)
    seen: list[Tensor] = []
    trunk.norm_pre.register_forward_hook(
        lambda module, args, output: seen.append(args[0])
    )
    trunk.embed(frames)
    rows = model.entry["AIM"].rows[None, :, None]
    expected = trunk.norm_pre((seen[0].unflatten(0, (2, 4)) + rows).flatten(0, 1))
    torch.testing.assert_close(model.embed(frames), expected, atol=1e-6, rtol=1e-6)


def test_order_of_frames_shows_only_through_the_table() -> None:
    model, order = randomised([AIM(bottleneck=8)]), [2, 0, 3, 1]
    assert (model(clip()) - model(clip()[:, order])).abs().max() > 1e-4
    model.entry["AIM"].rows.data.zero_()
    torch.testing.assert_close(
        model(clip()), model(clip()[:, order]), atol=1e-5, rtol=1e-5
    )


def test_init() -> None:
    model = adapted([AIM()], depth=2)
    adapters = {name: p for name, p in trainable(model).items() if "slots" in name}
    assert all(
        not p.any()
        for name, p in adapters.items()
        if name.endswith(("bias", "up.weight"))
    )
    down = torch.cat(
        [
            p.flatten()
            for name, p in adapters.items()
            if name.endswith("down.weight")
        ]
    )
    assert down.std().item() == pytest.approx(0.02, rel=0.02)
    assert not model.entry["AIM"].rows.any()


def test_no_weight_is_held_twice() -> None:
    """The temporal pass reuses the block's attention and must not list it again."""
    model = adapted([AIM()])
    assert not any(
        "attn.qkv" in key.split("slots")[-1]
        for key in model.state_dict()
        if "slots" in key
    )
    assert len(model.state_dict()) == len(tiny_vit().state_dict()) + 2 * 3 * 4 + 1


def test_the_temporal_pass_sees_deltas_of_its_block() -> None:
    """LoRA on the attention acts over time, too, and a deep copy keeps to itself."""
    model = randomised([AIM(bottleneck=8)])
    attach(model, [LoRA(rank=2)])
    other = copy.deepcopy(model)
    x, slot = torch.randn(8, 5, 192), model.blocks[0].slots["before_attn"]["AIM"]
    before = slot(x, model.grid)
    shake([p for name, p in trainable(model).items() if "LoRA" in name], 0.1)
    assert (slot(x, model.grid) - before).abs().max() > 1e-5
    torch.testing.assert_close(
        other.blocks[0].slots["before_attn"]["AIM"](x, model.grid), before
    )


def test_prompts_take_no_part_over_time() -> None:
    model = randomised([AIM(bottleneck=8)])
    x, slot = torch.randn(8, 5, 192), model.blocks[0].slots["before_attn"]["AIM"]
    before = slot(x, model.grid)
    attach(model, [VPT(num_prompts=3)])
    assert torch.equal(slot(x, model.grid), before)


def test_drop_path_leaves_out_whole_frames() -> None:
    model = randomised([AIM(bottleneck=8, drop_path=0.5)]).train()
    first, last = (block.slots["before_attn"]["AIM"] for block in model.blocks)
    assert (first.drop_path.p, last.drop_path.p) == (0.0, 0.5)
    x = torch.randn(64, 5, 192)
    update, kept = last(x, model.grid), last.eval()(x, model.grid)
    left_out = (update == 0).flatten(1).all(1)
    assert 16 < left_out.sum() < 48
    torch.testing.assert_close(update[~left_out], 2 * kept[~left_out])


@pytest.mark.parametrize(
    ("name", "frames", "aim", "count"),
    [
        (NAME, 8, AIM(), 10_659_072),
        (NAME, 8, SSV2, 14_209_536),
        (NAME, 8, AIM(norm=False), 10_651_392 + 8 * 768),
        (NAME, 32, AIM(), 10_985_104 - 307_600),
        (NAME, 8, SSV2, 14_343_342 - 133_806),
    ],
)
def test_published_counts(name: str, frames: int, aim: AIM, count: int) -> None:
    with torch.device("meta"):
        model = VideoViT(name, weights="random", num_frames=frames)
        attach(model, [aim])
    assert sum(p.numel() for p in trainable(model).values()) == count


@pytest.mark.parametrize(("temporal", "millions"), [(1, 37.84), (2, 50.45)])
def test_published_counts_of_a_larger_trunk(temporal: int, millions: float) -> None:
    with torch.device("meta"):
        model = VideoViT(
            "vit_large_patch14_clip_quickgelu_224.openai", weights="random"
        )
        attach(model, [AIM(temporal_adapters=temporal)])
    count = sum(
        p.numel() for name, p in trainable(model).items() if "slots" in name
    )
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_clips_of_another_length() -> None:
    with pytest.raises(
        ValueError, match="AIM has a position for each of 4 frames; clips have 2"
    ):
        adapted([AIM()])(clip(frames=2))


def test_hyper_parameters() -> None:
    with pytest.raises(ValueError, match="bottleneck 0 must be above zero"):
        AIM(bottleneck=0)


@pytest.mark.parametrize(
    ("frames", "aim", "gmacs"),
    [
        (8, AIM(), 202.1),
        (16, AIM(), 404.6),
        (32, AIM(), 811.1),
        (8, SSV2, 207.7),
        (32, SSV2, 833.5),
    ],
)
def test_published_gmacs(frames: int, aim: AIM, gmacs: float) -> None:
    with torch.device("meta"):
        model = VideoViT(NAME, weights="random", num_frames=frames)
        attach(model, [aim])
    with FlopCounterMode(display=False) as counter:
        model.features(torch.empty(1, frames, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=5e-4)
