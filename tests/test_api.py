"""The package as a Python library: names, a trained model, its features."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lightning_petl as petl
from lightning_petl.__main__ import main
from tests.formats import measure

GOLDEN = Path(__file__).parent / "formats" / "0.1.0.dev1"
PAGE = Path(__file__).parents[1] / "docs" / "python.md"
VIDEO = "video.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an artifact, the weights of its trunk, and a video."""
    made = tmp_path_factory.mktemp("api")
    shutil.copytree(GOLDEN / "artifacts" / "stack", made / "artifact")
    measure.write_trunk(made / measure.TRUNK_FILE)
    first = min((GOLDEN / "videos").rglob("*.mp4"))
    shutil.copy(first, made / VIDEO)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> petl.Model:
    return petl.load(folder / "artifact", weights=str(folder / measure.TRUNK_FILE))


def test_the_import_takes_no_torch() -> None:
    code = "import sys, lightning_petl as petl; petl.__doc__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_there() -> None:
    names = petl.__all__
    assert {"load", "attach", "VideoViT", "VideoClassifier", "LoRA", "AIM"} <= {
        *names
    }
    for name in names:
        assert getattr(petl, name).__name__ == name
    assert dir(petl) == names
    with pytest.raises(AttributeError, match="no attribute 'Lora'"):
        _ = petl.Lora  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", petl.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    """``tests/test_doctests.py`` runs them."""
    assert ">>> " in getattr(petl, name).__doc__


def test_predict_gives_what_the_command_gives(
    model: petl.Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    flags = ["--trainer.accelerator=cpu", "--data.num_workers=0", "--name=api"]
    trunk = f"--model.backbone.weights={measure.TRUNK_FILE}"
    given = ["--artifact=artifact", f"--data.predict_path={VIDEO}", trunk]
    assert main(["predict", *given, *flags]) == 0
    (table,) = Path("runs").rglob("predictions.csv")
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    found = model.predict(VIDEO)
    assert [row["label"] for row in rows] == [label for label, _ in found]
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        [probability for _, probability in found], abs=1e-6
    )
    assert sum(probability for _, probability in found) == pytest.approx(1)
    assert found[:1] == model.predict(VIDEO, top=1)


def test_features_are_what_the_head_reads(model: petl.Model, folder: Path) -> None:
    path = folder / VIDEO
    pooled = model.features(path)
    with torch.no_grad():
        probabilities = model.classifier.head(pooled).softmax(-1).mean(0)
    expected = dict(model.predict(path, top=100))
    got = dict(zip(model.labels, probabilities.tolist(), strict=True))
    assert got == pytest.approx(expected)


def test_frames_average_to_the_pooled_feature(
    model: petl.Model, folder: Path
) -> None:
    """``norm_cls_mean`` is the mean over frames of the normalized class token."""
    frames = model.features(folder / VIDEO, "frames")
    assert frames.shape[1] == 4
    torch.testing.assert_close(frames.mean(1), model.features(folder / VIDEO))


def test_tokens_are_normalized_patches(model: petl.Model, folder: Path) -> None:
    """``patch_mean`` of the same trunk is their mean."""
    tokens = model.features(folder / VIDEO, "tokens")
    trunk = model.classifier.backbone
    assert tokens.shape[1:] == (4, trunk.grid.height * trunk.grid.width, trunk.dim)
    readout = trunk.readout
    trunk.readout = "patch_mean"
    try:
        expected = model.features(folder / VIDEO)
    finally:
        trunk.readout = readout
    torch.testing.assert_close(tokens.mean((1, 2)), expected)


def test_wrong_input_is_told(
    model: petl.Model, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="none of pooled, frames, tokens"):
        model.features(folder / VIDEO, "cls")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4"):
        model.predict(folder / "nothing.mp4")
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(folder / VIDEO, tmp_path / name)
    with pytest.raises(ValueError, match="holds 2 videos"):
        model.predict(tmp_path)
    with pytest.raises(FileNotFoundError, match="not an adapter art"):
        petl.load(tmp_path)


@pytest.mark.parametrize("number", [0, 1])
def test_the_page_runs(
    number: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    program = re.findall(
        r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )[number]
    before = '"runs/default/version_0/artifact"'
    assert (before in program) == (number == 0)
    program = program.replace(before, f'"artifact", weights="{measure.TRUNK_FILE}"')
    exec(program, {})
