"""A job keeps the code that it was submitted with."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_petl.slurm.frozen_code import PACKAGES, user_modules, write_code

GATE = {"class_path": "my_package.gates.Gate", "init_args": {}}
CONFIG = {
    "model": {"class_path": "VideoClassifier", "init_args": {"adapters": [GATE]}},
    "trainer": {"callbacks": [{"class_path": "my_file.Callback"}]},
    "data": {"class_path": "torch.utils.Data"},
}


def test_modules_are_found_at_any_depth() -> None:
    assert user_modules([CONFIG]) == {"my_package", "my_file", "torch"}
    assert (
        user_modules([{"class_path": "lightning_petl.adapters.lora.LoRA"}]) == set()
    )


@pytest.fixture
def code(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "my_package" / "__pycache__").mkdir(parents=True)
    (home / "my_package" / "__init__.py").touch()
    (home / "my_package" / "gates.py").write_text("Gate = 'as submitted'\n")
    (home / "my_file.py").touch()
    (home / "other.py").touch()
    write_code(tmp_path / "code", [CONFIG], home)
    (home / "my_package" / "gates.py").write_text("Gate = 'edited'\n")
    return tmp_path / "code"


def test_what_is_named_is_copied_and_nothing_else(code: Path) -> None:
    assert {path.name for path in code.iterdir()} == {
        *PACKAGES,
        "my_package",
        "my_file.py",
    }
    assert not list(code.rglob("__pycache__"))


def test_a_job_runs_the_copy(code: Path) -> None:
    """The job's path begins with the copies; its current folder, which was edited, comes last."""
    program = (
        "from lightning_petl.cli.user_code import current_folder_last as last\n"
        "with last():\n"
        "    from my_package.gates import Gate\n"
        "    print(Gate)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=code.with_name("home"),
        env={"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "as submitted\n"), done.stderr
