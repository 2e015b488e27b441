"""Side4Video against outputs of the released code (HJYao00/Side4Video, Recognition, eval mode) and its own text.

The golden file's names are the released ones; here each is mapped to ours, all of them and nothing else.
"""

import math
import re
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_petl.adapters import Side4Video, attach
from lightning_petl.adapters.layers.temporal import shift
from lightning_petl.adapters.side4video import SideLayer, SideNetwork
from lightning_petl.backbones import VideoViT, vit
from lightning_petl.backbones.weights.pretrained import load_weights
from lightning_petl.shapes import Grid
from tests.tiny import adapted, clip, randomised, shake

NAME = "vit_base_patch16_clip_quickgelu_224.openai"
GOLDEN = load_file(Path(__file__).parent / "side4video_all_taps.safetensors")
_PUBLISHED = {
    "stem": "side_conv1",
    "norm_pre": "side_pre_bn3d",
    "norm_post": "side_post_bn",
    "position": "transformer.side_spatial_position_embeddings",
    "tap.norm": "transformer.side_lns.{}",
    "tap.linear": "transformer.side_linears.{}",
    "norms.conv": "transformer.side_transformer.{}.bn_1",
    "norms.attn": "transformer.side_transformer.{}.ln_1",
    "norms.mlp": "transformer.side_transformer.{}.bn_2",
    "branches.conv.inner": "transformer.side_transformer.{}.conv.0",
    "branches.conv.temporal": "transformer.side_transformer.{}.conv.1",
    "branches.conv.outer": "transformer.side_transformer.{}.conv.2",
    "branches.attn.qkv": "transformer.side_transformer.{}.attn.in_proj",
    "branches.attn.proj": "transformer.side_transformer.{}.attn.out_proj",
    "branches.mlp.fc1": "transformer.side_transformer.{}.mlp.fc1",
    "branches.mlp.fc2": "transformer.side_transformer.{}.mlp.fc2",
}


def _published_name(name: str) -> str:
    """``taps.0.norms.conv.weight`` in the released code."""
    match = re.fullmatch(
        r"(?:taps\.(\d+)\.)?(.+?)(?:\.(weight|bias|running_mean|running_var))?",
        name,
    )
    assert match is not None
    index, module, kind = match.groups()
    if module.endswith("qkv"):
        return _PUBLISHED[module].format(index) + f"_{kind}"
    return _PUBLISHED[module].format(index) + (f".{kind}" if kind else "")


@pytest.fixture
def golden_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoViT:
    """CLIP at toy size with the golden file's weights, and a Side4Video beside it, still as built."""
    weights = {
        key.removeprefix("weights/"): value
        for key, value in GOLDEN.items()
        if key.startswith("weights/")
    }
    sizes = {
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 1,
        "patch_size": 8,
        "img_size": 32,
    }
    trunk = timm.create_model(NAME, num_classes=0, **sizes)
    unread = {
        "ln_post.weight": torch.ones(64),
        "ln_post.bias": torch.zeros(64),
    }  # the released model has none
    clip_weights = {
        key: value for key, value in weights.items() if "side_" not in key
    }
    save_file(clip_weights | unread, tmp_path / "clip.safetensors")
    load_weights(trunk, tmp_path / "clip.safetensors")
    monkeypatch.setattr(vit, "load_trunk", lambda name, weights, depth: trunk)
    return VideoViT(NAME, num_frames=4)


@pytest.mark.parametrize(
    "recipe",
    [
        Side4Video(width=64),
        Side4Video(width=64, save_memory=False),
        Side4Video(width=64, checkpoint=("conv", "attn", "mlp")),
    ],
    ids=["lean", "plain", "checkpointed"],
)
def test_released_output(recipe: Side4Video, golden_model: VideoViT) -> None:
    attach(golden_model, [recipe])
    reader = golden_model.readers["Side4Video"]
    own = reader.state_dict()
    assert {f"weights/{_published_name(name)}" for name in own} == {
        key for key in GOLDEN if "side_" in key
    }
    reader.load_state_dict(
        {
            k: GOLDEN[f"weights/{_published_name(k)}"].view_as(v)
            for k, v in own.items()
        }
    )
    feature = golden_model.eval().features(GOLDEN["input/video"])
    torch.testing.assert_close(
        feature, GOLDEN["output/feature"], atol=1e-5, rtol=1e-5
    )


def _batch_norm(norm: nn.Module, x: Tensor, training: bool) -> Tensor:
    """Over all but the last axis, from the definition."""
    rows = x.reshape(-1, x.shape[-1])
    mean, var = (
        (rows.mean(0), rows.var(0, correction=0))
        if training
        else (norm.running_mean, norm.running_var)
    )
    return norm.weight * (x - mean) / torch.sqrt(var + 1e-5) + norm.bias


def _attend(layer: nn.Module, tokens: Tensor) -> Tensor:
    """Head by head, of patches to all tokens, ``b t n d``."""
    d = tokens.shape[-1]
    q, k, v = layer.qkv(tokens).split(d, dim=-1)
    heads = []
    for start in range(0, d, 64):
        part = slice(start, start + 64)
        scores = q[..., 1:, part] @ k[..., part].mT / 8
        heads.append(scores.softmax(-1) @ v[..., part])
    return layer.proj(torch.cat(heads, dim=-1))


def _convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """The depthwise convolution as a sum over three frames."""
    x = layer.inner(x)
    w = layer.temporal.weight[:, 0, :, 0]
    y = layer.temporal.bias + w[:, 1] * x
    y[:, 1:] += w[:, 0] * x[:, :-1]
    y[:, :-1] += w[:, 2] * x[:, 1:]
    return layer.outer(y)


def _written_out(trunk: VideoViT, video: Tensor, form: str) -> Tensor:
    """The network of the paper's text, ``b t n d`` throughout."""
    net, training = trunk.readers["Side4Video"], trunk.training
    pixels = (video.float() / 255 - trunk.pixel_mean) / trunk.pixel_std
    b, t = video.shape[:2]
    padded = F.pad(pixels, (0, 0, 0, 0, 0, 0, 1, 1))
    frames = [
        F.unfold(padded[:, k : k + t].flatten(0, 1), 16, stride=16).unflatten(
            1, (3, 256)
        )
        for k in range(3)
    ]
    patches = (
        torch.stack(frames, dim=2).flatten(1, 3).mT.unflatten(0, (b, t))
    )  # channel, frame, pixel
    s = _batch_norm(
        net.norm_pre,
        patches @ net.stem.weight.flatten(1).T + net.stem.bias,
        training,
    )
    z = trunk.embed(pixels)
    for index, block in enumerate(trunk.blocks):
        z = block(z, trunk.grid)
        if str(index) not in net.taps:
            continue
        layer = net.taps[str(index)]
        conv, attn, mlp = (layer.branches[name] for name in ("conv", "attn", "mlp"))
        bn_conv, bn_mlp, ln = (
            layer.norms["conv"],
            layer.norms["mlp"],
            layer.norms["attn"],
        )
        norm, linear, width = (
            layer.tap.norm,
            layer.tap.linear,
            layer.tap.norm.weight.shape,
        )

        def perceptron(x: Tensor, mlp: nn.Module = mlp) -> Tensor:
            return mlp.fc2(F.gelu(mlp.fc1(x)))

        f = (
            F.layer_norm(linear(z), width, norm.weight, norm.bias)
            if form.startswith("eva")
            else linear(F.layer_norm(z, width, norm.weight, norm.bias))
        ).unflatten(0, (b, t))
        s = (s + f[:, :, 1:]) / 2
        c = torch.zeros_like(f[:, :, :1])
        half = c.shape[-1] // 2
        c[:, :-1, :, :half] = f[:, 1:, :1, :half]
        c[:, 1:, :, half:] = f[:, :-1, :1, half:]
        position = net.position
        if form == "clip_retrieval":
            c, position = c + position[0], position[1:]
        if form.startswith("eva"):
            s = s + _batch_norm(bn_conv, _convolve(conv, s), training)
            y = _attend(attn, torch.cat([c, s + position], dim=2))
            s = s + F.layer_norm(y, y.shape[-1:], ln.weight, ln.bias)
            s = s + _batch_norm(bn_mlp, perceptron(s), training)
        else:
            s = s + _convolve(conv, _batch_norm(bn_conv, s, training))
            u = torch.cat([c, s + position], dim=2)
            s = s + _attend(attn, F.layer_norm(u, u.shape[-1:], ln.weight, ln.bias))
            s = s + perceptron(_batch_norm(bn_mlp, s, training))
    return (s if form == "eva" else _batch_norm(net.norm_post, s, training)).mean(
        (1, 2)
    )


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("taps", ["all", "odd"])
@pytest.mark.parametrize("form", ["clip", "eva", "clip_retrieval", "eva_retrieval"])
def test_written_out(form: str, taps: str, training: bool) -> None:
    vit = randomised([Side4Video(width=128, form=form, taps=taps)], depth=3)
    shake(
        [buffer for name, buffer in vit.named_buffers() if "running_mean" in name],
        0.3,
    )
    vit.train(training)
    expected = _written_out(vit, clip(), form)
    torch.testing.assert_close(vit(clip()), expected, atol=1e-5, rtol=1e-4)


def _std(tensor: Tensor) -> float:
    return tensor.detach().std().item()


def test_initial_values() -> None:
    torch.manual_seed(0)
    layer, d = SideLayer(768, Side4Video(width=320)), 320
    attention, mlp = layer.branches["attn"], layer.branches["mlp"]
    assert _std(attention.qkv.weight) == pytest.approx(d**-0.5, rel=0.01)
    assert _std(attention.proj.weight) == pytest.approx(
        d**-0.5 * 24**-0.5, rel=0.01
    )
    assert _std(mlp.fc1.weight) == pytest.approx((2 * d) ** -0.5, rel=0.01)
    assert _std(mlp.fc2.weight) == pytest.approx(d**-0.5 * 24**-0.5, rel=0.01)
    assert not attention.qkv.bias.any()
    assert not attention.proj.bias.any()
    assert layer.branches["conv"].inner.weight.abs().max().item() == pytest.approx(
        d**-0.5, rel=0.01
    )
    assert layer.branches[
        "conv"
    ].temporal.weight.abs().max().item() == pytest.approx(3**-0.5, rel=0.01)
    assert layer.tap.linear.weight.abs().max().item() == pytest.approx(
        768**-0.5, rel=0.01
    )


@pytest.mark.parametrize(
    ("form", "std"),
    [
        ("clip", 0.01),
        ("eva", 0.02),
        ("clip_retrieval", 0.01),
        ("eva_retrieval", 0.02),
    ],
)
def test_initial_positions(form: str, std: float) -> None:
    torch.manual_seed(0)
    net = SideNetwork(768, Grid(8, 14, 14, 1), (16, 16), [0], Side4Video(form=form))
    assert _std(net.position) == pytest.approx(std, rel=0.01)
    assert net.stem.weight.abs().max().item() == pytest.approx(
        (3 * 3 * 256) ** -0.5, rel=0.01
    )


def test_initial_values_of_the_eva_form_are_pytorchs() -> None:
    torch.manual_seed(0)
    layer = SideLayer(1792, Side4Video(width=576, form="eva"))
    for linear in (layer.branches["attn"].qkv, layer.branches["mlp"].fc1):
        assert _std(linear.weight) == pytest.approx(
            576**-0.5 / math.sqrt(3), rel=0.01
        )
        assert linear.bias.any()


@pytest.mark.parametrize(
    ("form", "attention"), [("clip_retrieval", 320**-0.5), ("eva_retrieval", 0.02)]
)
def test_initial_values_for_retrieval(form: str, attention: float) -> None:
    """All linear layers alike; attention's first one is no linear layer in CLIP's form; convolutions keep a bias."""
    torch.manual_seed(0)
    layer = SideLayer(768, Side4Video(width=320, form=form))
    attn, mlp, conv = (layer.branches[name] for name in ("attn", "mlp", "conv"))
    assert _std(attn.qkv.weight) == pytest.approx(attention, rel=0.01)
    for linear in (
        layer.tap.linear,
        attn.proj,
        mlp.fc1,
        mlp.fc2,
        conv.inner,
        conv.outer,
    ):
        assert _std(linear.weight) == pytest.approx(0.02, rel=0.01)
    for linear in (layer.tap.linear, attn.qkv, attn.proj, mlp.fc1, mlp.fc2):
        assert not linear.bias.any()
    assert _std(conv.temporal.weight) == pytest.approx(320**-0.5, rel=0.05)
    for convolution in (conv.inner, conv.temporal, conv.outer):
        assert convolution.bias.any()


def test_shift_moves_half_the_channels_each_way() -> None:
    x = torch.arange(1.0, 1 + 2 * 3 * 4).view(2, 3, 1, 4)
    zero = torch.zeros(2, 1, 1, 2)
    torch.testing.assert_close(
        shift(x)[..., :2], torch.cat([x[:, 1:, :, :2], zero], dim=1), atol=0, rtol=0
    )
    torch.testing.assert_close(
        shift(x)[..., 2:],
        torch.cat([zero, x[:, :-1, :, 2:]], dim=1),
        atol=0,
        rtol=0,
    )
    assert not shift(x[:, :1]).any()  # one frame has no neighbours


def test_reversed_time_changes_the_feature() -> None:
    vit = adapted([Side4Video(width=64)])
    assert (vit(clip()) - vit(clip().flip(1))).abs().max() > 1e-3


def test_clips_permute() -> None:
    vit = randomised([Side4Video(width=64)])
    order = [2, 0, 1]
    video = clip(batch=3)
    torch.testing.assert_close(
        vit(video[order]), vit(video)[order], atol=1e-6, rtol=1e-6
    )
