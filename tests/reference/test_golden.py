"""Outputs of the published code at toy size, recorded with its own weight names.

``st_adapter_both``: linziyi96/st-adapter; ``lora_qv``: ``MergedLinear`` of microsoft/LoRA. Both in eval mode, float32.
"""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from lightning_petl.adapters import LoRA, STAdapter, attach
from lightning_petl.adapters.lora import LoRADelta
from lightning_petl.backbones import VideoViT, vit
from lightning_petl.backbones.linear import AdaptedLinear
from lightning_petl.backbones.weights.pretrained import load_weights

HERE = Path(__file__).parent
NAME = "vit_base_patch16_clip_quickgelu_224.openai"


def _golden(name: str) -> dict[str, Tensor]:
    return {
        key.removeprefix("weights/"): value
        for key, value in load_file(HERE / f"{name}.safetensors").items()
    }


def _toy_trunk(state: dict[str, Tensor], folder: Path) -> VisionTransformer:
    """CLIP at toy size, its weights read from a file with OpenAI's names."""
    sizes = {
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 4,
        "patch_size": 8,
        "img_size": 32,
    }
    model = timm.create_model(NAME, num_classes=0, **sizes)
    clip = {
        k: v
        for k, v in state.items()
        if "adapter" not in k and not k.startswith(("fc.", "input/", "output/"))
    }
    save_file(clip, folder / "clip.safetensors")
    load_weights(model, folder / "clip.safetensors")
    return model


_SLOTS = {"before_attn": "adapter_pre_attn", "before_mlp": "adapter_pre_mlp"}
_LAYERS = {"down": "fc1", "conv": "conv", "up": "fc2"}


def _published_name(name: str) -> str:
    """``blocks.0.slots.before_attn.STAdapter.down.weight`` in the published code."""
    _, block, _, slot, _, layer, kind = name.split(".")
    return f"transformer.resblocks.{block}.{_SLOTS[slot]}.{_LAYERS[layer]}.{kind}"


def test_st_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = _golden("st_adapter_both")
    trunk = _toy_trunk(golden, tmp_path)
    monkeypatch.setattr(vit, "load_trunk", lambda name, weights, depth: trunk)
    ours = VideoViT(NAME, num_frames=4, readout="cls_mean_norm")
    attach(ours, [STAdapter(bottleneck=16)])
    adapters = {name: p for name, p in ours.named_parameters() if p.requires_grad}
    used = {_published_name(name) for name in adapters}
    assert used == {key for key in golden if "adapter" in key}
    with torch.no_grad():
        for name, parameter in adapters.items():
            parameter.copy_(golden[_published_name(name)])
        feature = ours.eval().features(golden["input/video"])
    logits = F.linear(feature, golden["fc.weight"], golden["fc.bias"])
    torch.testing.assert_close(
        logits, golden["output/logits"], atol=1e-5, rtol=1e-5
    )


def test_lora_on_fused_q_and_v() -> None:
    golden = _golden("lora_qv")
    linear = nn.Linear(64, 192)
    linear.load_state_dict({key: golden[key] for key in ("weight", "bias")})
    ours = AdaptedLinear(linear)
    delta = LoRADelta(ours, [0, 2], 3, LoRA(rank=4, alpha=8.0, targets=("q", "v")))
    delta.load_state_dict(
        {
            "A": golden["lora_A"].unflatten(0, (2, 4)),
            "B": golden["lora_B"].unflatten(0, (2, 64)),
        }
    )
    ours.add_delta("LoRA", delta)
    x = golden["input/video"]
    torch.testing.assert_close(ours(x), golden["output/y"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours.folded()(x), golden["output/y"], atol=1e-5, rtol=1e-5
    )
