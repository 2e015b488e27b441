"""A shared artifact rebuilds the very model, and no other."""

import json
from pathlib import Path

import pytest
import torch

from lightning_petl.adapters import BitFit, MultiTuneV, STAdapter
from lightning_petl.artifacts.files import CONFIG, WEIGHTS, read
from lightning_petl.artifacts.format import write
from lightning_petl.artifacts.recipes import encode
from lightning_petl.backbones import VideoViT
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.loading import load

PROTOCOL = {
    "sampling": {"name": "SegmentSampling", "num_frames": 2},
    "views": "1x3",
    "image_size": 32,
}


def build(seed: int = 0, readout: str = "norm_cls_mean") -> VideoClassifier:
    torch.manual_seed(seed)
    trunk = VideoViT(
        "vit_tiny_patch16_224",
        weights="random",
        image_size=32,
        depth=2,
        num_frames=2,
        readout=readout,
    )
    stack = [
        MultiTuneV(st_adapter=STAdapter(bottleneck=8, kernel=(3, 3, 3)), blocks=[1])
    ]
    model = VideoClassifier(trunk, stack, ["left", "right", "höher"]).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def trunk_file(tmp_path: Path) -> Path:
    """The weights of the trunk, as a file that an artifact can name."""
    torch.manual_seed(0)
    trunk = VideoViT("vit_tiny_patch16_224", weights="random", depth=2)
    torch.save(trunk.state_dict(), tmp_path / "trunk.pth")
    return tmp_path / "trunk.pth"


def test_round_trip_gives_the_same_logits(tmp_path: Path, trunk_file: Path) -> None:
    model = build()
    write(tmp_path / "a", model.trained(), PROTOCOL)
    again = load(tmp_path / "a", weights=str(trunk_file))
    video = torch.randint(0, 256, (2, 1, 2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(again(video), model(video))
    assert again.adapters == model.adapters
    assert again.labels == ("left", "right", "höher")


def test_holds_nothing_of_the_frozen_trunk(tmp_path: Path) -> None:
    model = build()
    write(tmp_path / "a", model.trained(), PROTOCOL)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    size = (tmp_path / "a" / WEIGHTS).stat().st_size
    assert 4 * trained <= size < 4 * trained + 20_000


def test_states_protocol_and_preprocessing(tmp_path: Path) -> None:
    model = build()
    write(tmp_path / "a", model.trained(), PROTOCOL)
    config = read(tmp_path / "a").config
    assert config["protocol"] == PROTOCOL
    assert config["backbone"]["weights_hash"] == model.backbone.weights_hash
    assert config["adapters"][0]["class_path"].endswith("MultiTuneV")


def test_another_trunk_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    write(tmp_path / "a", build().trained(), PROTOCOL)
    with pytest.raises(ValueError, match="use the trunk it was trained on"):
        load(tmp_path / "a", weights="random")
    load(tmp_path / "a", weights="random", allow_other_trunk=True)


def test_missing_trainable_tensor_is_named(
    tmp_path: Path, trunk_file: Path
) -> None:
    model = build()
    write(tmp_path / "a", model.trained(), PROTOCOL)
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    config["adapters"].append(
        encode(BitFit(targets=("proj",), outside=False, blocks=[0]))
    )
    (tmp_path / "a" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"missing: backbone\.blocks\.0\.attn\.proj\.bias"
    ):
        load(tmp_path / "a", weights=str(trunk_file))


def test_a_folder_that_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not an adapter artifact"):
        load(tmp_path)
