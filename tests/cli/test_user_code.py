"""A user's modules and ours do not hide each other."""

import subprocess
import sys
from pathlib import Path

import pytest

START = [sys.executable, "-m", "lightning_petl"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder of a user's with a package of the name of one of ours."""
    (tmp_path / "data_modules").mkdir()
    (tmp_path / "data_modules" / "__init__.py").write_text(
        "raise RuntimeError('theirs')"
    )
    return tmp_path


def run(folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    command = [*START, "data", "index", "--help"]
    paths = f"{path}:{ROOT}" if path else str(ROOT)
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


def test_the_program_runs_beside_a_folder_of_the_name(beside: Path) -> None:
    done = run(beside)
    assert done.returncode == 0, done.stderr
    assert "data index" in done.stdout


def test_another_package_of_the_name_is_told_in_one_paragraph(beside: Path) -> None:
    away = beside / "away"
    away.mkdir()
    done = run(away, path=str(beside))
    assert done.returncode == 2
    (told,) = done.stderr.splitlines()
    assert str(beside / "data_modules") in told
    assert "PYTHONPATH" in told
