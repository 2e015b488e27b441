"""Weights in every dialect give the model that wrote them; what does not fit is refused with names."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.weights.pretrained import (
    load_trunk,
    load_weights,
    read_state,
    weights_hash,
)
from tests.tiny import NAME, clip, shake, tiny_vit

transformers = pytest.importorskip("transformers")

CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def _toy(name: str = CLIP, seed: int = 0, **options: Any) -> VisionTransformer:
    """A timm model at toy size, of the same architecture as the trunk of that name."""
    sizes = {
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 4,
        "patch_size": 8,
        "img_size": 32,
    } | options
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=0, **sizes).eval()
    shake(model.parameters(), 0.1)
    return model


def _frames() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _openai_names(model: VisionTransformer) -> dict[str, Tensor]:
    """The reverse of OpenAI's naming, written out by hand."""
    blocks = {
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    outside = {
        "patch_embed.proj": "conv1",
        "pos_embed": "positional_embedding",
        "cls_token": "class_embedding",
    }
    outside |= {"norm_pre": "ln_pre", "blocks.": "transformer.resblocks."}
    state = {}
    for key, value in model.state_dict().items():
        new = (
            "ln_post." + key.removeprefix("norm.")
            if key.startswith("norm.")
            else key
        )
        for ours, theirs in (blocks if key.startswith("blocks") else {}).items():
            new = new.replace(ours, theirs)
        for ours, theirs in outside.items():
            new = new.replace(ours, theirs)
        state[new] = (
            value.squeeze(0)
            if key == "pos_embed"
            else value.flatten()
            if key == "cls_token"
            else value.clone()
        )
    return state


def _load(path: Path, name: str = CLIP, **options: Any) -> VisionTransformer:
    model = _toy(name, seed=1, **options)
    load_weights(model, path)
    return model


def _same(first: VisionTransformer, second: VisionTransformer) -> bool:
    return torch.equal(first(_frames()), second(_frames()))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_timm_names(tmp_path: Path, suffix: str) -> None:
    source, path = _toy(), tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(
        source.state_dict(), path
    )
    assert _same(_load(path), source)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_state(tmp_path: Path, wrapper: str) -> None:
    torch.save({wrapper: _toy().state_dict(), "epoch": 3}, tmp_path / "w.pth")
    assert _same(_load(tmp_path / "w.pth"), _toy())


def test_heads_and_projections_are_left_out(tmp_path: Path) -> None:
    state = _toy().state_dict() | {
        "head.weight": torch.zeros(5, 64),
        "head.bias": torch.zeros(5),
    }
    torch.save(state, tmp_path / "w.pth")
    assert _same(_load(tmp_path / "w.pth"), _toy())


@pytest.mark.parametrize("whole", [True, False], ids=["whole_clip", "bare_tower"])
def test_openai_names(tmp_path: Path, whole: bool) -> None:
    state = _openai_names(_toy())
    if whole:
        state = {f"visual.{key}": value for key, value in state.items()}
        state |= {
            "visual.proj": torch.zeros(64, 32),
            "logit_scale": torch.ones(()),
            "token_embedding.weight": state["visual.ln_post.bias"],
        }
        state |= {
            "text_projection": torch.zeros(2, 2),
            "positional_embedding": torch.zeros(7, 64),
        }
    torch.save(state, tmp_path / "clip.pt")
    assert _same(_load(tmp_path / "clip.pt"), _toy())


def test_torchscript_archive(tmp_path: Path) -> None:
    """OpenAI's own files are TorchScript archives."""

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in _openai_names(_toy()).items():
                _register(self, f"visual.{name}", value)

        def forward(self) -> int:
            return 0

    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        torch.jit.script(Whole()).save(str(tmp_path / "clip.pt"))
    assert _same(_load(tmp_path / "clip.pt"), _toy())


def _register(module: nn.Module, path: str, value: Tensor) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        module.register_buffer(head, value)
        return
    if not hasattr(module, head):
        module.add_module(head, nn.Module())
    _register(module.get_submodule(head), rest, value)


def _dinov2_names(model: VisionTransformer) -> dict[str, Tensor]:
    """Meta's release: positions for class token and patches, register tokens apart, a mask token."""
    state = model.state_dict()
    registers = state.pop("reg_token")
    class_position = torch.randn(1, 1, 64)
    return state | {
        "register_tokens": registers,
        "mask_token": torch.zeros(1, 64),
        "cls_token": state["cls_token"] - class_position,
        "pos_embed": torch.cat([class_position, state["pos_embed"]], dim=1),
    }


def test_dinov2_release_with_registers(tmp_path: Path) -> None:
    name = "vit_small_patch14_reg4_dinov2"
    source = _toy(name)
    torch.save(_dinov2_names(source), tmp_path / "dinov2.pth")
    torch.testing.assert_close(
        _load(tmp_path / "dinov2.pth", name)(_frames()),
        source(_frames()),
        atol=1e-5,
        rtol=1e-5,
    )


_HF = {
    "clip": (
        CLIP,
        "CLIPVision",
        {"intermediate_size": 256, "hidden_act": "quick_gelu"},
    ),
    "dinov2": ("vit_small_patch14_dinov2", "Dinov2", {"mlp_ratio": 4}),
    "vit": (
        "vit_base_patch16_224",
        "ViT",
        {"intermediate_size": 256, "layer_norm_eps": 1e-6},
    ),
    "siglip": (
        "vit_base_patch16_siglip_224",
        "SiglipVision",
        {"intermediate_size": 256, "hidden_act": "gelu"},
    ),  # timm's choice
}


def _hf(family: str) -> nn.Module:
    _, prefix, options = _HF[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(**SIZES, **options)
    model = getattr(transformers, f"{prefix}Model")(config).eval()
    shake(model.parameters(), 0.1)
    return model


def _hf_feature(family: str, model: Any) -> Tensor:
    with torch.no_grad():
        output = model(pixel_values=_frames())
    return (
        output.last_hidden_state[:, 0]
        if family in ("vit", "dinov2")
        else output.pooler_output
    )


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "in_memory"])
@pytest.mark.parametrize("family", _HF)
def test_hugging_face_names(tmp_path: Path, family: str, saved: bool) -> None:
    model = _hf(family)
    if saved:
        model.save_pretrained(
            tmp_path
        )  # the names of the files on the hub, which transformers 5 no longer has inside
    else:
        save_file(model.state_dict(), tmp_path / "model.safetensors")
    ours = _load(tmp_path / "model.safetensors", _HF[family][0])
    with torch.no_grad():
        feature = ours(_frames())
    torch.testing.assert_close(
        feature, _hf_feature(family, model), atol=1e-5, rtol=1e-5
    )


def test_hugging_face_clip_with_its_text_tower(tmp_path: Path) -> None:
    vision = SIZES | {"intermediate_size": 256, "hidden_act": "quick_gelu"}
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
    }
    torch.manual_seed(0)
    model = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision)
    ).eval()
    model.save_pretrained(tmp_path)
    ours = _load(tmp_path / "model.safetensors")
    expected = _hf_feature("clip", model.vision_model)
    torch.testing.assert_close(
        ours(_frames()).detach(), expected, atol=1e-5, rtol=1e-5
    )


def _broken(change: str) -> dict[str, Tensor]:
    state = _toy().state_dict()
    if change == "missing":
        del state["blocks.1.attn.qkv.bias"]
    elif change == "unexpected":
        state["blocks.1.attn.extra"] = torch.zeros(3)
    else:
        state["blocks.0.mlp.fc1.bias"] = torch.zeros(3)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"1 tensors are missing: blocks\.1\.attn\.qkv\.bias"),
        ("unexpected", r"1 tensors are unexpected: blocks\.1\.attn\.extra"),
        ("shape", r"1 tensors are of another shape: blocks\.0\.mlp\.fc1\.bias"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, change: str, message: str
) -> None:
    save_file(_broken(change), tmp_path / "w.safetensors")
    model = _toy(seed=1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(model, tmp_path / "w.safetensors")
    assert all(
        torch.equal(value, before[key]) for key, value in model.state_dict().items()
    )


def test_half_a_hugging_face_file(tmp_path: Path) -> None:
    state = _hf("clip").state_dict()
    del state["encoder.layers.0.self_attn.k_proj.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"missing: blocks\.0\.attn\.qkv\.weight"):
        _load(tmp_path / "w.safetensors")


def test_weights_of_another_patch_size(tmp_path: Path) -> None:
    """timm would resample the patch embedding without a word."""
    save_file(_toy(patch_size=4).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"of another shape: patch_embed\.proj\.weight"
    ):
        _load(tmp_path / "w.safetensors")


def test_weights_of_a_deeper_trunk(tmp_path: Path) -> None:
    save_file(_toy(depth=3).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"unexpected: blocks\.2"):
        _load(tmp_path / "w.safetensors")
    model = _toy(seed=1)
    load_weights(model, tmp_path / "w.safetensors", depth=2)
    assert torch.equal(
        model.blocks[1].mlp.fc1.weight, _toy(depth=3).blocks[1].mlp.fc1.weight
    )


def test_positions_of_another_image_size_are_interpolated(tmp_path: Path) -> None:
    save_file(_toy(img_size=48).state_dict(), tmp_path / "w.safetensors")
    source = _toy(img_size=48)
    source.set_input_size(img_size=(32, 32))
    torch.testing.assert_close(
        _load(tmp_path / "w.safetensors").pos_embed,
        source.pos_embed,
        atol=1e-5,
        rtol=1e-5,
    )


def test_local_file_through_the_trunk(tmp_path: Path) -> None:
    source = tiny_vit(image_size=None)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    loaded = VideoViT(
        NAME, weights=str(tmp_path / "w.safetensors"), depth=2, num_frames=4
    ).eval()
    assert torch.equal(loaded(clip(size=224)), source(clip(size=224)))
    with pytest.raises(
        ValueError, match=r"120 tensors are missing: blocks\.10\."
    ):  # 12 in each of 10 blocks
        VideoViT(NAME, weights=str(tmp_path / "w.safetensors"))


def test_missing_file() -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"'nowhere\.pth': no such file\. Give a path, 'hub', or 'random'",
    ):
        VideoViT(NAME, weights="nowhere.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.bin"])
def test_file_that_holds_no_tensors(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a checkpoint, however one reads it")
    with pytest.raises(ValueError, match=rf"{name}' cannot be read as weights"):
        read_state(tmp_path / name)


def test_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"weights": Path("x")}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        read_state(tmp_path / "w.pth")


def test_unknown_name_shows_near_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"'vit_tiny_patch16_999' is not a timm model; near: .*vit_tiny_patch16_224",
    ):
        VideoViT("vit_tiny_patch16_999", weights="random")


def test_another_architecture() -> None:
    with pytest.raises(
        ValueError,
        match="'resnet10t' is a ResNet; a VisionTransformer or Eva is needed",
    ):
        VideoViT("resnet10t", weights="random")


@pytest.mark.parametrize("depth", [0, -1, 13])
def test_depth_the_trunk_does_not_have(tmp_path: Path, depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth {depth} of '{NAME}'"):
        VideoViT(NAME, weights="random", depth=depth)


@pytest.mark.parametrize(
    "error", [OSError("no network"), RuntimeError("no pretrained weights")]
)
def test_hub_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        assert kwargs["pretrained"]
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        ValueError,
        match=rf"weights of '{NAME}' cannot be had from the hub.*{error}.*weights: random",
    ):
        VideoViT(NAME)


def test_hub_weights_are_cut_to_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, pretrained: bool, **options: Any) -> VisionTransformer:
        assert pretrained
        assert (
            "depth" not in options
        )  # timm's strict loading would refuse the file of the whole trunk
        return whole

    whole = timm.create_model(NAME, num_classes=0, depth=3)
    monkeypatch.setattr(timm, "create_model", create)
    assert len(load_trunk(NAME, "hub", 2).blocks) == 2


def test_hash_tells_weights_and_nothing_else() -> None:
    reference = tiny_vit().weights_hash
    assert tiny_vit(image_size=48).weights_hash == reference
    assert tiny_vit(frozen_dtype="bfloat16").weights_hash == reference
    assert tiny_vit(num_frames=8, readout="patch_mean").weights_hash == reference
    assert tiny_vit(seed=1).weights_hash != reference


def test_hash_tells_a_single_bit_and_a_swap() -> None:
    model = _toy()
    reference = weights_hash(model)
    with torch.no_grad():
        model.blocks[0].mlp.fc1.bias[3] += 1e-3
    changed = weights_hash(model)
    with torch.no_grad():
        model.blocks[0].mlp.fc1.bias[3] -= 1e-3
        model.norm.weight.copy_(_toy().norm.bias)
        model.norm.bias.copy_(_toy().norm.weight)
    assert len({reference, changed, weights_hash(model)}) == 3
