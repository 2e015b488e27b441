"""Spellings of earlier releases are still read."""

from pathlib import Path

import pytest

from lightning_petl.__main__ import main
from lightning_petl.callbacks.outputs import member_runs
from lightning_petl.cli import config_text
from lightning_petl.cli.old_options import with_current_flags


@pytest.mark.parametrize(
    ("old", "now"),
    [
        (["predict", "--artefact", "mine"], ["predict", "--artifact", "mine"]),
        (["predict", "--artefact=a=b"], ["predict", "--artifact=a=b"]),
    ],
)
def test_an_old_option_is_read_with_a_hint(
    old: list[str], now: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_current_flags(old) == now
    assert "--artefact is written --artifact now" in capsys.readouterr().err
    assert with_current_flags(now) == now
    assert capsys.readouterr().err == ""


def test_the_hint_comes_with_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--artefact=nowhere"]) == 2
    hint, error = capsys.readouterr().err.splitlines()
    assert "--artifact" in hint
    assert "nowhere" in error


def test_the_key_of_an_old_configuration_is_read() -> None:
    text = "artefact: runs/old\ndata:\n  class_path: data_modules.sets.folder.VideoFolder\n"
    read = config_text.read(text)
    assert read == {"artifact": "runs/old", "data": {"class_path": "VideoFolder"}}


def test_the_best_artifact_of_an_old_bank_is_found(tmp_path: Path) -> None:
    """0.1.0.dev1 wrote ``members/<name>/artefact``."""
    (tmp_path / "artefact").mkdir()
    assert member_runs._best_of(tmp_path).name == "artefact"
    (tmp_path / "artifact").mkdir()
    assert member_runs._best_of(tmp_path).name == "artifact"
