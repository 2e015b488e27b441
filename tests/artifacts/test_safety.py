"""An artifact of anybody can be opened: what is wrong with it is told, and nothing that it says is done."""

import csv
import io
import json
import resource
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from data_modules.video.encode import write_video
from lightning_petl.__main__ import main
from lightning_petl.adapters import Adapter, LoRA, MultiTuneV, STAdapter
from lightning_petl.artifacts.files import CONFIG, LABELS, SHA256
from lightning_petl.artifacts.format import refuse_local_file, write
from lightning_petl.backbones import VideoViT
from lightning_petl.cli import artifact_option
from lightning_petl.cli.errors import told_to_the_user
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.loading import load, restore
from tests.mutated_artifacts import FOREIGN, mutations

MUTATIONS = dict(mutations())
PROTOCOL = {
    "sampling": {"name": "SegmentSampling", "num_frames": 2},
    "views": "1x3",
    "image_size": 32,
    "crop": {"crop_ratio": 0.875, "interpolation": "bilinear"},
}
MORE = 200 * 2**20  # bytes above what the process holds before


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    torch.manual_seed(0)
    trunk = VideoViT(
        "vit_tiny_patch16_224",
        weights="random",
        image_size=32,
        depth=2,
        num_frames=2,
    )
    stack: list[Adapter] = [
        MultiTuneV(
            st_adapter=STAdapter(bottleneck=8, kernel=(3, 3, 3)), blocks=[1]
        ),
        LoRA(rank=2, blocks=[0]),
    ]
    return VideoClassifier(trunk, stack, ["left", "right", "höher"]).eval()


@pytest.fixture(scope="module")
def good(model: VideoClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "artifact"
    write(folder, model.trained(), PROTOCOL)
    return folder


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the import of a module that could be imported leaves behind."""
    trace = tmp_path / "was imported"
    code = "from lightning_petl.adapters import LoRA\nclass Method(LoRA): name = 'LoRA'\n"
    (tmp_path / f"{FOREIGN}.py").write_text(
        f"open({str(trace)!r}, 'w').close()\n{code}"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return trace


@contextmanager
def little_memory(more: int) -> Generator[None]:
    """No more than ``more`` bytes of addresses beside those that the process holds."""
    held = (
        int(Path("/proc/self/statm").read_text().split()[0])
        * resource.getpagesize()
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def opened(folder: Path, model: VideoClassifier) -> None:
    """As the command line opens it, and onto a model that is there."""
    trunk = artifact_option.configuration(folder)["model"]["init_args"]["backbone"]
    refuse_local_file(trunk["weights"], folder)
    restore(folder, model)


def test_the_list_is_long_enough() -> None:
    assert len(MUTATIONS) >= 200


def told_of(folder: Path, model: VideoClassifier) -> str:
    """What the user is told of an artifact that cannot be used."""
    try:
        with little_memory(MORE):
            opened(folder, model)
    except UserWarning as warning:
        return str(warning)
    except Exception as error:
        return told_to_the_user(error) or f"not told: {error!r}"
    return "not noticed"


def test_every_mutation_is_told_in_one_sentence(
    good: Path, model: VideoClassifier, stranger: Path, tmp_path: Path
) -> None:
    opened(good, model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told = dict[str, str]()
    for number, (name, mutate) in enumerate(MUTATIONS.items()):
        folder = tmp_path / str(number) / "artifact"
        shutil.copytree(good, folder)
        mutate(folder)
        told[name] = told_of(folder, model)
    assert {
        name: text for name, text in told.items() if _unclear(text, tmp_path)
    } == {}
    assert not stranger.exists()
    assert (
        not {FOREIGN, "this"} & sys.modules.keys()
    )  # "this" is a module of Python that prints a poem
    assert all(
        torch.equal(value, before[name])
        for name, value in model.state_dict().items()
    )


def _unclear(text: str, folder: Path) -> bool:
    """Whether a sentence does not say what is wrong with which file."""
    return (
        (str(folder) not in text and "trained on the trunk" not in text)
        or len(text) > 1000
        or "memory" in text
    )


def test_classes_that_the_user_renamed_are_used_and_told(
    good: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(good, folder)
    (folder / LABELS).write_text(json.dumps(["west", "east", "up"]))
    with pytest.warns(
        UserWarning,
        match=r"labels.json: is not as it was written; the class names in it now are used",
    ):
        loaded = load(folder, allow_other_trunk=True)
    assert loaded.labels == ("west", "east", "up")


def test_a_class_of_the_users_own_comes_from_an_allowed_package(
    good: Path, model: VideoClassifier, stranger: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(good, folder)
    config = json.loads((folder / CONFIG).read_text())
    del config[SHA256]
    config["adapters"][1]["class_path"] = f"{FOREIGN}.Method"
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(
        ValueError,
        match=f"{FOREIGN}.Method is no known class .* add --allow {FOREIGN} to the command",
    ):
        artifact_option.configuration(
            folder, allow=[f"{FOREIGN}_too", FOREIGN[:-1]]
        )
    assert not stranger.exists()
    artifact_option.configuration(folder, allow=[FOREIGN])
    assert stranger.exists()
    artifact_option.configuration(folder)  # it is imported now


NAMES = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(
    ["${oc.env:HOME}", "\\${x}", "a: 'b'", "\udcff"]
)


@given(
    st.recursive(
        NAMES | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.just("key"), inner),
    )
)
def test_text_survives_the_interpreters_of_the_command_line(value: object) -> None:
    hidden = artifact_option.hidden(value)
    assert (
        artifact_option.shown(
            yaml.safe_load(json.dumps(hidden, ensure_ascii=False))
        )
        == value
    )
    assert (
        artifact_option.shown(
            OmegaConf.to_object(OmegaConf.create({"value": hidden}))
        )["value"]
        == value
    )


STRANGE_LABELS = [
    "\U0001f600 happy",
    "${oc.env:HOME}",
    "[bold]a[/bold]: 'b'",
    "null",
    "\x7f\ufffe",
    "lightning-petl-text:41",
    "1e3",
]


def test_any_label_comes_back_from_an_artifact(tmp_path: Path) -> None:
    """The trunk is a file that the user names; without it nothing is read."""
    torch.manual_seed(0)
    trunk = tmp_path / "trunk.pth"
    torch.save(
        VideoViT("vit_tiny_patch16_224", weights="random", depth=2).state_dict(),
        trunk,
    )
    vit = VideoViT(
        "vit_tiny_patch16_224",
        weights=str(trunk),
        image_size=32,
        depth=2,
        num_frames=2,
    )
    model = VideoClassifier(vit, [LoRA(rank=2)], STRANGE_LABELS)
    write(tmp_path / "artifact", model.trained(), PROTOCOL)
    write_video(
        tmp_path / "a.mp4", np.full((4, 32, 32, 3), 99, np.uint8), 4, codec="mpeg4"
    )
    command = ["predict", "--artifact", str(tmp_path / "artifact"), f"--data.predict_path={tmp_path / 'a.mp4'}",
               "--data.num_workers=0", "--trainer.accelerator=cpu",
               f"--trainer.default_root_dir={tmp_path / 'runs'}"]  # fmt: skip
    assert main(command) == 2
    assert main([*command, f"--model.backbone.weights={trunk}"]) == 0
    table = (tmp_path / "runs/version_0/predictions.csv").read_text(
        "utf-8", "surrogateescape"
    )
    found = [row["label"] for row in csv.DictReader(io.StringIO(table))]
    assert len(found) == 5
    assert set(found) <= set(STRANGE_LABELS)
