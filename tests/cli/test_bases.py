"""The key ``configs`` of a configuration: what it is built on."""

from pathlib import Path

import pytest
import yaml

from lightning_petl.__main__ import main
from lightning_petl.cli import shipped_configs

SHIPPED = shipped_configs.FOLDER
LORA = str(SHIPPED / "adapters/lora.yaml")
VIT = str(SHIPPED / "backbone/vit_b16.yaml")


def test_bases_come_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("configs: [adapters/lora, backbone/vit_b16]\n")
    given = str(file)
    for form in (["-c", given], ["--config", given]):
        option = form[0]
        words = shipped_configs.with_paths(["fit", *form, "--name", "x"])
        in_order = [option, LORA, option, VIT, *form, "--name", "x"]
        assert words == ["fit", *in_order]
    words = shipped_configs.with_paths(["fit", f"-c={given}"])
    assert words == ["fit", f"-c={LORA}", f"-c={VIT}", f"-c={given}"]


def test_a_file_of_several_is_read_once_and_before_all_of_them(
    tmp_path: Path,
) -> None:
    for name, line in {
        "a": "",
        "z": "",
        "b": "configs: [a.yaml, z.yaml]\n",
        "c": "configs: [a.yaml, b.yaml]\n",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(line + "trainer: {max_epochs: 1}\n")
    words = shipped_configs.with_paths(["fit", "-c", str(tmp_path / "c.yaml")])
    assert [Path(word).stem for word in words[2::2]] == ["a", "z", "b", "c"]


def test_the_file_overrides_what_it_is_built_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "configs: [adapters/lora, backbone/vit_b16, data/ssv2]\n"
        "model:\n  optim: {lr: 0.5}\n"
        "data:\n  init_args:\n    sampling: {init_args: {num_frames: 16}}\n"
    )
    assert main(["check", "-c", "mine.yaml", "--data.root=here"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert "configs" not in found
    data = found["data"]["init_args"]
    assert data["sampling"]["class_path"] == "RoundedSegmentSampling"
    assert data["sampling"]["init_args"]["num_frames"] == 16
    assert data["root"] == "here"
    model = found["model"]["init_args"]
    assert model["optim"]["lr"] == 0.5
    assert model["adapters"][0]["class_path"] == "LoRA"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("configs: adapters/lora", "is a list of names of configurations"),
        ("configs: {a: 1}", "is a list of names of configurations"),
        ("configs: [1]", "is a list of names of configurations"),
        ("configs: [adapters/lorra]", "near: adapters/lora"),
        ("configs: [side4video]", "write which one"),
        ("configs: [mine.yaml]", "built on this file itself"),
        ("configs: [other.yaml]", "built on this file itself"),
    ],
)
def test_a_wrong_base_is_told_in_one_line(
    line: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"{line}\n")
    (tmp_path / "other.yaml").write_text("configs: [mine.yaml]\n")
    assert main(["check", "-c", "mine.yaml"]) == 2
    err = capsys.readouterr().err
    assert ".yaml: configs" in err
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", ["configs: [\n", "a: 1\n\0configs: [b]\n"])
def test_what_is_no_yaml_is_told_by_its_reader(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert main(["check", "-c", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
