"""Towers of open_clip's models: what they say is what open_clip's own model says, and a wrong name or file is told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

open_clip = pytest.importorskip("open_clip")

from lightning_petl.adapters import BitFit, LoRA, Side4Video, attach  # noqa: E402
from lightning_petl.backbones import VideoViT  # noqa: E402
from lightning_petl.backbones.pairs import projection, text_tower  # noqa: E402
from lightning_petl.backbones.text import TextTower  # noqa: E402
from tests.pairs import (  # noqa: E402
    PAIRS,
    announce,
    frames_of,
    halves,
    readout_of,
    texts_of,
    theirs,
    written,
)
from tests.tiny import shake, tiny_vit, trainable  # noqa: E402

REAL = ["ViT-B-32-quickgelu", "ViT-B-32", "ViT-B-16-SigLIP", "EVA02-B-16"]
ATOL = 1e-5


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory: pytest.TempPathFactory) -> None:
    """open_clip knows the toy models."""
    announce(tmp_path_factory.mktemp("configs"))


@pytest.fixture(
    params=[*PAIRS, *(pytest.param(name, marks=pytest.mark.slow) for name in REAL)]
)
def pair(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[Any, VideoViT, TextTower]:
    """open_clip's model, and both towers read from its file."""
    model = theirs(request.param)
    file = written(model, tmp_path / "weights.pt")
    name = f"open_clip:{request.param}"
    vit = VideoViT(
        name, weights=file, readout=readout_of(request.param), num_frames=2
    )
    return model, vit.eval(), text_tower(name, file)


def towers(model: str, weights: str) -> tuple[VideoViT, TextTower]:
    name = f"open_clip:{model}"
    return VideoViT(
        name, weights=weights, readout=readout_of(model), num_frames=2
    ).eval(), text_tower(name, weights)


def images(vit: VideoViT, frames: Tensor) -> Tensor:
    """The embeddings of the frames of one clip."""
    return projection(vit)(vit.final_norm(vit.frames(frames).trunk))[0]


@torch.no_grad()
def test_frames_and_texts_and_their_similarity_are_those_of_open_clip(
    pair: tuple[Any, VideoViT, TextTower],
) -> None:
    model, vit, text = pair
    frames, ids = frames_of(model), texts_of(model)
    image, sentence = images(vit, frames), text(ids).sentence
    torch.testing.assert_close(
        image, model.encode_image(frames[0]), atol=ATOL, rtol=ATOL
    )
    torch.testing.assert_close(
        sentence, model.encode_text(ids), atol=ATOL, rtol=ATOL
    )
    joint = (
        text.logit_scale.exp()
        * normalize(image, dim=-1)
        @ normalize(sentence, dim=-1).T
    )
    joint = joint if text.logit_bias is None else joint + text.logit_bias
    torch.testing.assert_close(
        joint, model.get_logits(frames[0], ids)[0], atol=ATOL * 14, rtol=ATOL
    )
    assert (text.logit_bias is None) == (model.logit_bias is None)
    mean = model.encode_image(frames[0]).mean(0, keepdim=True)
    torch.testing.assert_close(
        projection(vit)(vit.features(frames)), mean, atol=ATOL, rtol=ATOL
    )


@torch.no_grad()
def test_the_activations_are_told_apart(tmp_path: Path) -> None:
    """The same tensors mean another model where the activation differs."""
    file, said = written(theirs("toy"), tmp_path / "w.pt"), {}
    for name in ("toy", "toy-quickgelu"):
        model, (vit, text) = theirs(name), towers(name, file)
        frames, ids = frames_of(model), texts_of(model)
        said[name] = (images(vit, frames), text(ids).sentence)
        torch.testing.assert_close(
            said[name][0], model.encode_image(frames[0]), atol=ATOL, rtol=ATOL
        )
    for ours, other in zip(*said.values(), strict=True):
        assert (ours - other).abs().max() > 1e-3


class _Archive(nn.Module):
    """OpenAI's archives hold numbers beside the towers' tensors, these in half precision."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        numbers = {
            key: torch.tensor(32)
            for key in ("input_resolution", "context_length", "vocab_size")
        }
        for name, value in (state | numbers).items():
            module: nn.Module = self
            *path, leaf = name.split(".")
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            module.register_buffer(
                leaf, value.half() if value.is_floating_point() else value
            )

    def forward(self) -> int:
        return 0


def _dialect(kind: str, state: dict[str, Tensor], path: Path) -> str:
    if kind == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    elif kind == "training":
        torch.save(
            {
                "epoch": 1,
                "name": "x",
                "state_dict": {f"module.{k}": v for k, v in state.items()},
            },
            path,
        )
    elif (
        kind == "custom_text"
    ):  # the image tower's names stay, those of the text tower get a prefix
        own = ("visual.", "logit_")
        torch.save(
            {k if k.startswith(own) else f"text.{k}": v for k, v in state.items()},
            path,
        )
    else:
        torch.jit.save(torch.jit.script(_Archive(state)), path)
    return str(path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "kind", ["safetensors", "training", "custom_text", "archive"]
)
@torch.no_grad()
def test_files_of_every_kind(kind: str, tmp_path: Path) -> None:
    model = theirs("toy-quickgelu")
    file = _dialect(kind, model.state_dict(), tmp_path / "weights.pt")
    if kind == "archive":
        model = model.half().float()
    vit, text = towers("toy-quickgelu", file)
    frames, ids = frames_of(model), texts_of(model)
    torch.testing.assert_close(
        images(vit, frames), model.encode_image(frames[0]), atol=ATOL, rtol=ATOL
    )
    torch.testing.assert_close(
        text(ids).sentence, model.encode_text(ids), atol=ATOL, rtol=ATOL
    )
    if kind == "archive":
        with pytest.raises(
            ValueError,
            match=r"were trained with QuickGELU: take open_clip:toy-quickgelu",
        ):
            towers("toy", file)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@torch.no_grad()
def test_a_tag_brings_its_file_its_pixels_and_its_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = theirs("toy")
    published = {
        "file": written(model, tmp_path / "w.pt"),
        "mean": (0.5, 0.25, 0.125),
        "std": (1.0, 2.0, 3.0),
    }
    tags = {
        "good": published,
        "other": published | {"quick_gelu": True, "file": "never read"},
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "toy", tags)
    vit, text = towers("toy", "good")
    frames = frames_of(model)
    torch.testing.assert_close(
        images(vit, frames), model.encode_image(frames[0]), atol=ATOL, rtol=ATOL
    )
    assert vit.pixel_mean.flatten().tolist() == [0.5, 0.25, 0.125]
    assert vit.pixel_std.flatten().tolist() == [1, 2, 3]
    assert text.weights == "good"
    with pytest.raises(
        ValueError,
        match=r"'other' were trained with QuickGELU: take open_clip:toy-quickgelu",
    ):
        towers("toy", "other")
    with pytest.raises(
        ValueError,
        match=r"weights 'hub' of 'toy' are neither .* tags \(good, other\)",
    ):
        towers("toy", "hub")
    del tags["other"]
    assert towers("toy", "hub")[0].weights_hash == vit.weights_hash


def test_a_hub_that_cannot_be_reached_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(_: Any) -> str:
        raise FileNotFoundError("check your connection")

    monkeypatch.setattr(open_clip, "download_pretrained", unreachable)
    told = r"weights 'openai' of 'ViT-B-32-quickgelu' cannot be had from the hub .*connection.* weights: <local file>"
    with pytest.raises(ValueError, match=told):
        text_tower("open_clip:ViT-B-32-quickgelu", "openai")
    with pytest.raises(
        ValueError, match=r"'laion2b_s34b_b79k' of 'ViT-B-32' cannot be had"
    ):
        VideoViT("open_clip:ViT-B-32", weights="laion2b_s34b_b79k")


@pytest.mark.parametrize(
    "build",
    [lambda name: VideoViT(name, weights="random"), text_tower],
    ids=["image", "text"],
)
def test_unknown_names_are_told_with_near_ones(build: Any) -> None:
    with pytest.raises(
        ValueError,
        match=r"'ViT-B-16-quickgellu' is not a model of open_clip; near: .*ViT-B-16-quick",
    ):
        build("open_clip:ViT-B-16-quickgellu")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("RN50", "ResNet"),
        ("coca_ViT-B-32", "attentional_pool"),
        ("convnext_base", "timm_drop_path"),
        ("ViT-L-14-CLIPA", "no_ln_pre"),
    ],
)
def test_image_towers_of_another_kind_are_refused(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        VideoViT(f"open_clip:{name}", weights="random")


def test_text_towers_of_another_kind_are_refused() -> None:
    for name, told in (
        ("roberta-ViT-B-32", "hf_model_name"),
        ("coca_ViT-B-32", "embed_cls"),
    ):
        with pytest.raises(ValueError, match=told):
            text_tower(f"open_clip:{name}", "random")
    with pytest.raises(
        ValueError, match=r"'vit_tiny_patch16_224' has no text tower"
    ):
        text_tower("vit_tiny_patch16_224", "random")
    with pytest.raises(
        ValueError, match="has no text tower: take a model of open_clip"
    ):
        projection(tiny_vit())


def test_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    siglip = written(theirs("toy-siglip"), tmp_path / "siglip.pt")
    with pytest.raises(
        ValueError, match=r"siglip.pt' do not fit the trunk: \d+ tensors are"
    ):
        VideoViT("open_clip:toy", weights=siglip)
    with pytest.raises(
        ValueError,
        match=r"siglip.pt' do not fit the text tower: 2 tensors are unexpected: projection",
    ):
        text_tower("open_clip:toy-siglip2", siglip)
    image, text = halves(theirs("toy").state_dict())
    torch.save(image, tmp_path / "image.pt")
    torch.save(text, tmp_path / "text.pt")
    with pytest.raises(
        ValueError,
        match=r"image.pt' do not fit the text tower: \d+ tensors are missing",
    ):
        text_tower("open_clip:toy", str(tmp_path / "image.pt"))
    with pytest.raises(
        ValueError, match=r"text.pt' do not fit the trunk: \d+ tensors are missing"
    ):
        VideoViT("open_clip:toy", weights=str(tmp_path / "text.pt"))
    for weights in ("missing.pt", "laion400m"):
        with pytest.raises(
            ValueError,
            match=rf"weights '{weights}' of 'toy' are neither a file nor .*\(it has none\)",
        ):
            text_tower("open_clip:toy", weights)
    with pytest.raises(
        ValueError, match=r"depth 3 of 'open_clip:toy': it has 2 blocks"
    ):
        VideoViT("open_clip:toy", weights="random", depth=3)


@torch.no_grad()
def test_a_short_text_means_the_same_in_a_short_context(tmp_path: Path) -> None:
    model = theirs("toy")
    file = written(model, tmp_path / "w.pt")
    long, short = (
        text_tower("open_clip:toy", file),
        text_tower("open_clip:toy", file, context_length=32),
    )
    texts = ["a red ball rolls to the left", "", "word " * 29]
    ids = short.tokenize(texts)
    assert torch.equal(ids, long.tokenize(texts)[:, :32])
    torch.testing.assert_close(
        short(ids).sentence,
        long(long.tokenize(texts)).sentence,
        atol=1e-6,
        rtol=1e-5,
    )
    torch.testing.assert_close(
        short(ids).sentence,
        model.encode_text(long.tokenize(texts)),
        atol=ATOL,
        rtol=ATOL,
    )
    for length, told in (
        (78, "it has positions for 77 tokens"),
        (2, "no word between start and end"),
    ):
        with pytest.raises(ValueError, match=told):
            text_tower("open_clip:toy", "random", context_length=length)
    with pytest.raises(ValueError, match="its tokens attend to the filling"):
        text_tower("open_clip:toy-siglip", "random", context_length=8)


@torch.no_grad()
def test_the_image_tower_is_a_trunk_as_any_other(tmp_path: Path) -> None:
    """timm's names, an image size of its own, a depth, adapters and readers that are nothing at first, a hash."""
    file = written(theirs("toy-quickgelu"), tmp_path / "w.pt")
    vit, _ = towers("toy-quickgelu", file)
    timms = set(
        tiny_vit(
            name="vit_base_patch16_clip_quickgelu_224.openai", depth=2
        ).state_dict()
    )
    assert set(vit.state_dict()) == timms
    large = VideoViT(
        "open_clip:toy-quickgelu",
        weights=file,
        image_size=64,
        num_frames=2,
        depth=1,
    )
    assert (
        large.weights_hash
        != vit.weights_hash
        == towers("toy-quickgelu", file)[0].weights_hash
    )
    assert large.features(torch.randn(1, 2, 3, 64, 64)).shape == (1, 64)
    frames = torch.randn(2, 2, 3, 32, 32)
    before = vit.frames(frames).trunk
    attach(vit, [LoRA(), BitFit(), Side4Video(width=64)])
    after = vit.eval().frames(frames)
    assert torch.equal(after.trunk, before)
    assert after.readers["Side4Video"].shape == (2, 2, 64)
    assert set(vit.owners.values()) == {"LoRA", "BitFit", "Side4Video"}


def test_the_projection_belongs_to_its_user() -> None:
    vit, text = towers("toy", "random")
    assert isinstance(projection(vit), nn.Linear)
    assert projection(vit) is projection(vit)
    assert not trainable(projection(vit))
    assert "joint" not in dict(vit.named_children())
    assert not trainable(text)
    assert text.name == vit.name == "open_clip:toy"


@torch.no_grad()
def test_hashes_tell_weights_apart(tmp_path: Path) -> None:
    model = theirs("toy")
    first = towers("toy", written(model, tmp_path / "a.pt"))
    shake([model.visual.proj, model.logit_scale], 0.1)
    second = towers("toy", written(model, tmp_path / "b.pt"))
    assert all(
        a.weights_hash != b.weights_hash for a, b in zip(first, second, strict=True)
    )


QUIET = """
import data_modules.compat, json, logging, sys
from lightning_petl.backbones import VideoViT
assert "open_clip" not in sys.modules
from lightning_petl.backbones.pairs import text_tower
text_tower("open_clip:ViT-B-32", "random").tokenize(["a"])
VideoViT("open_clip:ViT-B-32", weights="random", depth=1)
print(json.dumps([str(handler) for handler in logging.getLogger().handlers]))
"""


@pytest.mark.slow
def test_the_console_stays_clean_and_open_clip_waits_until_it_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []


def test_without_open_clip_one_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for build in (text_tower, VideoViT):
        with pytest.raises(
            ValueError, match=r"pip install 'lightning_petl\[retrieval\]'"
        ):
            build("open_clip:ViT-B-32")
