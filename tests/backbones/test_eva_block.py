"""EVA trunks: with an empty stack they are timm's to the bit; slots, prompts and folding are where they should be."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.eva import EvaBlock, EvaBlockPostNorm
from torch import Tensor, nn

from lightning_petl.adapters import BitFit, LoRA, attach
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.block import (
    SLOTS,
    AdaptedBlock,
    PromptTable,
    SlotModule,
)
from lightning_petl.backbones.eva_block import AdaptedEvaBlock, AdaptedPostNormBlock
from lightning_petl.backbones.linear import BiasDelta, ScaleDelta
from lightning_petl.backbones.weights.pretrained import load_weights
from lightning_petl.shapes import Grid
from tests.families import EVA, SIZES, toy_model, toy_vit
from tests.tiny import SIZE, clip, gradients, shake, trainable

every_trunk = pytest.mark.parametrize("name", EVA)
FUSED, APART, POST_NORM = (
    "eva02_tiny_patch14_224",
    "eva02_base_patch16_clip_224",
    "eva02_enormous_patch14_clip_224",
)


def _frames(size: int = SIZE) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def _tokens(vit: VideoViT, frames: Tensor) -> Tensor:
    """Tokens behind the final norm."""
    seen: list[Tensor] = []
    handle = vit.blocks[-1].register_forward_hook(
        lambda module, args, output: seen.append(output)
    )
    vit.features(frames[:, None])
    handle.remove()
    return vit.norm(seen[0])


@every_trunk
def test_empty_stack_is_timm(name: str) -> None:
    model = toy_model(name)
    expected, keys = model.forward_features(_frames()), list(model.state_dict())
    vit = toy_vit(name, model)
    attach(vit, [])
    assert torch.equal(_tokens(vit, _frames()), expected)
    assert sorted(vit.state_dict()) == sorted(keys)


@every_trunk
@pytest.mark.parametrize("size", [48, 80])
def test_other_image_size_is_timm(name: str, size: int) -> None:
    model = toy_model(name)
    model.set_input_size(img_size=(size, size))
    expected = model.forward_features(_frames(size))
    vit = toy_vit(name, image_size=size)
    assert vit.grid[1:3] == (size // 16, size // 16)
    assert torch.equal(_tokens(vit, _frames(size)), expected)


@pytest.mark.parametrize(
    ("name", "readout"),
    [(APART, "norm_cls_mean"), (POST_NORM, "cls_mean_norm"), (FUSED, "patch_mean")],
)
def test_readout_is_the_pooling_of_timm(name: str, readout: str) -> None:
    model = toy_model(name)
    expected = model(_frames())
    vit = toy_vit(name, model, readout=readout)
    torch.testing.assert_close(
        vit.features(_frames()[:, None]), expected, atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize(
    "name", ["eva02_tiny_patch14_224", "vit_small_patch16_dinov3"]
)
def test_by_name_at_native_width(name: str) -> None:
    vit = VideoViT(
        name, weights="random", depth=1, image_size=SIZE if "16" in name else 28
    ).eval()
    model = timm.create_model(
        name, num_classes=0, depth=1, img_size=vit.image_size[0]
    )
    model.load_state_dict(vit.state_dict())
    assert torch.equal(
        _tokens(vit, _frames(vit.image_size[0])),
        model.eval().forward_features(_frames(vit.image_size[0])),
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vit_pe_core_tiny_patch16_384",
            "AdaptedEvaBlock adopts timm's EvaAttention, not AttentionRope",
        ),
        (
            "vit_small_patch16_rope_mixed_224",
            "RotaryEmbeddingMixed are not the same in every block",
        ),
    ],
)
def test_what_is_not_known_is_refused(name: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(TypeError, match=message):
        VideoViT(name, weights="random", depth=1, readout="patch_mean")


@pytest.mark.parametrize(
    ("adopted", "expected"),
    [(AdaptedEvaBlock, "EvaBlock"), (AdaptedPostNormBlock, "EvaBlockPostNorm")],
)
def test_other_blocks_are_refused(
    adopted: type[AdaptedBlock], expected: str
) -> None:
    with pytest.raises(
        TypeError, match=rf"adopts timm's eva\.{expected}, not Identity"
    ):
        adopted(nn.Identity())


def test_the_largest_trunk_builds_without_memory() -> None:
    """EVA-02-CLIP-E/14, 4.35 B: 64 blocks of width 1792, hidden 15,360, biases on all but the keys."""
    with torch.device("meta"):
        vit = VideoViT(POST_NORM, weights="random")
    d, f = 1792, 15_360
    block = 4 * d * d + 3 * d + 2 * d * f + f + d + 4 * d
    outside = 3 * 14 * 14 * d + d + d + 257 * d + 2 * d
    assert (
        sum(p.numel() for p in vit.parameters())
        == 64 * block + outside
        == 4_348_720_896
    )
    assert {type(block) for block in vit.blocks} == {AdaptedPostNormBlock}
    assert all(p.is_meta for p in vit.parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("eva_giant_patch14_224", 1_012.56),
        ("eva02_base_patch14_448", 87.12),
        ("eva02_large_patch14_448", 305.08),
    ],
)
def test_published_counts(name: str, millions: float) -> None:
    """timm's table of ImageNet results counts the head of 1000 classes."""
    with torch.device("meta"):
        vit = VideoViT(name, weights="random")
    count = sum(p.numel() for p in vit.parameters()) + (vit.dim + 1) * 1000
    assert round(count / 1e6, 2) == millions


GRID = Grid(frames=3, height=2, width=2, prefix=1)


class _Shift(SlotModule):
    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return 0.3 * x.roll(1, dims=-1)


def _blocks(post_norm: bool) -> tuple[Any, AdaptedBlock, Tensor]:
    """timm's block, ours, and sines and cosines of four patches."""
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "swiglu_mlp": True,
        "scale_mlp": True,
        "scale_attn_inner": True,
    }
    cls, adopted = (
        (EvaBlockPostNorm, AdaptedPostNormBlock)
        if post_norm
        else (EvaBlock, AdaptedEvaBlock)
    )

    def build():
        return cls(
            32, 4, **options, **({} if post_norm else {"init_values": 0.5})
        ).eval()

    block, copy, rope = build(), build(), torch.randn(4, 16)
    shake(block.parameters(), 0.1)
    copy.load_state_dict(block.state_dict())
    return block, adopted(copy, rope), rope


def _equation(
    block: Any, rope: Tensor, x: Tensor, slot: str, post_norm: bool
) -> Tensor:
    """The block with one module in ``slot``, written out."""

    def d(name: str, z: Tensor) -> Tensor:
        return _Shift()(z, GRID) if name == slot else torch.zeros_like(z)

    x = x + d("before_attn", x)
    h = block.attn(x if post_norm else block.norm1(x), rope=rope)
    h = h + d("after_attn", h)
    x = (
        x
        + (block.norm1(h) if post_norm else block.gamma_1 * h)
        + d("beside_attn", x)
    )
    x = x + d("before_mlp", x)
    h = block.mlp(x if post_norm else block.norm2(x))
    h = h + d("after_mlp", h)
    x = (
        x
        + (block.norm2(h) if post_norm else block.gamma_2 * h)
        + d("beside_mlp", x)
    )
    return x + d("after_block", x)


@pytest.mark.parametrize("post_norm", [False, True], ids=["pre_norm", "post_norm"])
@pytest.mark.parametrize("slot", SLOTS)
def test_slot_is_where_the_equation_says(slot: str, post_norm: bool) -> None:
    block, ours, rope = _blocks(post_norm)
    x = torch.randn(3, 5, 32)
    ours.add(slot, "shift", _Shift())
    expected = _equation(block, rope, x, slot, post_norm)
    torch.testing.assert_close(ours(x, GRID), expected, atol=1e-5, rtol=1e-5)
    assert (expected - block(x, rope=rope)).abs().max() > 1e-3


@pytest.mark.parametrize("post_norm", [False, True], ids=["pre_norm", "post_norm"])
def test_prompts_are_not_rotated(post_norm: bool) -> None:
    """Behind the patches they do what timm's block does with them among its prefix, where nothing is rotated."""
    block, ours, rope = _blocks(post_norm)
    x, rows = torch.randn(3, 5, 32), torch.randn(2, 32)
    block.attn.num_prefix_tokens = 3
    whole = torch.cat([x[:, :1], rows.expand(3, -1, -1), x[:, 1:]], dim=1)
    expected = block(whole, rope=rope)[:, [0, 3, 4, 5, 6]]
    ours.add_prompt("prompt", PromptTable(rows, 0.0))
    torch.testing.assert_close(ours(x, GRID), expected, atol=1e-5, rtol=1e-5)


def test_without_a_grid_nothing_is_rotated() -> None:
    block, ours, _ = _blocks(post_norm=False)
    x = torch.randn(3, 7, 32)
    torch.testing.assert_close(ours.attend(x), block.attn(x), atol=1e-6, rtol=1e-6)


@every_trunk
def test_folding_restores_the_keys_of_timm(name: str) -> None:
    vit = toy_vit(name)
    keys = set(vit.state_dict())
    attach(vit, [LoRA(rank=2, targets=("q", "k", "v", "o", "fc1", "fc2"))])
    shake(trainable(vit).values(), 0.1)
    before = vit(clip())
    assert (before - toy_vit(name)(clip())).abs().max() > 1e-3
    vit.fold()
    assert set(vit.state_dict()) == keys
    torch.testing.assert_close(vit(clip()), before, atol=1e-5, rtol=1e-5)
    model = toy_model(name, seed=1)
    model.load_state_dict(vit.state_dict())
    mean, std = vit.pixel_mean, vit.pixel_std
    frames = ((clip(frames=1) / 255 - mean) / std).flatten(0, 1)
    torch.testing.assert_close(
        vit.norm(_raw(vit, frames)),
        model.forward_features(frames),
        atol=1e-4,
        rtol=1e-4,
    )


def _raw(vit: VideoViT, frames: Tensor) -> Tensor:
    x = vit.embed(frames[:, None])
    for block in vit.blocks:
        x = block(x, vit.grid)
    return x


def test_folding_a_scale_reaches_the_biases_of_q_and_v() -> None:
    vit = toy_vit(FUSED)
    attn = vit.blocks[0].attn
    delta = ScaleDelta(3 * 192)
    nn.init.uniform_(delta.vector, 0.5, 2)
    vit.blocks[0].linear("attn.qkv").add_delta("scale", delta)
    before, q_bias = vit(clip()), attn.q_bias.clone()
    vit.fold()
    torch.testing.assert_close(vit(clip()), before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attn.q_bias, q_bias * delta.vector[:192])
    assert "blocks.0.attn.k_bias" not in vit.state_dict()


@pytest.mark.parametrize("name", [FUSED, "vit_small_patch16_dinov3"])
def test_folding_a_bias_that_the_trunk_lacks_loses_nothing(name: str) -> None:
    """Rotated, a bias on the keys is no shift of all logits; where timm has no place for it, there is a new key."""
    vit = toy_vit(name)
    plain, keys = vit(clip()), set(vit.state_dict())
    delta = BiasDelta(range(192, 2 * 192), 3 * 192)
    nn.init.normal_(delta.bias)
    vit.blocks[0].linear("attn.qkv").add_delta("bias", delta)
    before = vit(clip())
    vit.fold()
    assert (before - plain).abs().max() > 1e-4
    torch.testing.assert_close(vit(clip()), before, atol=1e-5, rtol=1e-5)
    assert len(set(vit.state_dict()) - keys) == 1


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        (
            FUSED,
            {
                "attn.q_bias",
                "attn.v_bias",
                "attn.proj",
                "mlp.fc1",
                "mlp.fc2",
                "norm1",
                "norm2",
            },
        ),
        (
            POST_NORM,
            {
                "attn.q_bias",
                "attn.v_bias",
                "attn.proj",
                "mlp.fc1",
                "mlp.fc2",
                "norm1",
                "norm2",
            },
        ),
        (
            APART,
            {
                "attn.q_proj",
                "attn.v_proj",
                "attn.proj",
                "attn.norm",
                "mlp.fc1_g",
                "mlp.fc1_x",
                "mlp.norm",
                "mlp.fc2",
            }
            | {"norm1", "norm2"},
        ),
    ],
)
def test_bitfit_trains_every_bias_of_a_block(name: str, inside: set[str]) -> None:
    vit = toy_vit(name)
    attach(vit, [BitFit(outside=False)])
    expected = {
        f"blocks.0.{path}" if path.endswith("_bias") else f"blocks.0.{path}.bias"
        for path in inside
    }
    assert {
        key for key in trainable(vit) if key.startswith("blocks.0.")
    } == expected
    grads = gradients(vit, clip())
    assert all(grad is not None and grad.any() for grad in grads.values())


@pytest.mark.parametrize("name", [FUSED, APART])
def test_part_of_the_biases(name: str) -> None:
    vit = toy_vit(name)
    attach(vit, [BitFit(targets=("q",), outside=False)])
    assert not any(
        "deltas" in key for key in trainable(vit)
    )  # q has a bias of its own: nothing is added
    assert sum(p.numel() for p in trainable(vit).values()) == 2 * 192
    with pytest.raises(
        ValueError, match=r"BitFit: attn\.(qkv|k_proj) of this trunk has no bias"
    ):
        attach(toy_vit(name), [BitFit(targets=("k",))])


def test_targets_of_swiglu() -> None:
    vit = toy_vit(APART)
    attach(
        vit,
        [
            LoRA(rank=2, targets=("fc1_g",), blocks=[0]),
            LoRA(rank=2, targets=("fc1",), blocks=[1]),
        ],
    )
    assert {key.split(".deltas")[0] for key in trainable(vit)} == {
        "blocks.0.mlp.fc1_g",
        "blocks.1.mlp.fc1_g",
        "blocks.1.mlp.fc1_x",
    }
    with pytest.raises(
        ValueError,
        match=r"target 'fc1_g' is not a part of this trunk's blocks; they have q, k, v, proj",
    ):
        attach(toy_vit(FUSED), [LoRA(targets=("fc1_g",))])


def test_one_a_for_layers_that_are_apart() -> None:
    with pytest.raises(
        ValueError, match="this trunk has them apart: use per_slice"
    ):
        attach(toy_vit(APART), [LoRA(targets=("q", "k", "v"), fused="shared")])


def _published_names(model: nn.Module) -> dict[str, Tensor]:
    """EVA-CLIP's release, written out by hand: a prefix, its own names of the MLP, tables of sines beside."""
    names = {
        "mlp.fc1_g": "mlp.w1",
        "mlp.fc1_x": "mlp.w2",
        "mlp.fc2": "mlp.w3",
        "mlp.norm": "mlp.ffn_ln",
    }
    names |= {
        "attn.norm": "attn.inner_attn_ln",
        "attn.q_proj.bias": "attn.q_bias",
        "attn.v_proj.bias": "attn.v_bias",
    }
    state = {}
    for key, value in model.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        state[f"visual.{key}"] = value.clone()
    beside = {
        "visual.rope.freqs_cos": torch.ones(4, 64),
        "visual.head.weight": torch.zeros(8, 192),
    }
    return (
        state
        | beside
        | {
            "logit_scale": torch.ones(()),
            "text.positional_embedding": torch.zeros(7, 64),
        }
    )


def test_weights_with_the_published_names(tmp_path: Path) -> None:
    source, model = toy_model(APART), toy_model(APART, seed=1)
    save_file(_published_names(source), tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model(_frames()), source(_frames()))


def test_weights_of_another_trunk_are_refused(tmp_path: Path) -> None:
    save_file(toy_model(FUSED).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"tensors are missing: .*q_proj"):
        load_weights(toy_model(APART), tmp_path / "w.safetensors")


def test_hash_is_of_the_weights() -> None:
    vit = toy_vit(FUSED)
    assert toy_vit(FUSED, image_size=48).weights_hash == vit.weights_hash
    assert toy_vit(FUSED, toy_model(FUSED, seed=1)).weights_hash != vit.weights_hash
    assert SIZES["embed_dim"] == vit.dim


@pytest.mark.parametrize("name", EVA)
def test_frozen_bf16_trunk(name: str) -> None:
    full, half = toy_vit(name), toy_vit(name, frozen_dtype="bfloat16")
    for vit in (full, half):
        torch.manual_seed(0)
        attach(vit, [LoRA(rank=2)])
    assert half.blocks[0].mlp.fc2.weight.dtype == torch.bfloat16
    difference = (half(clip()) - full(clip())).norm() / full(clip()).norm()
    assert difference < 0.03
    assert all(
        grad is not None and grad.dtype == torch.float32
        for grad in gradients(half, clip()).values()
    )
