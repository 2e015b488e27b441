"""The cache benchmark: its whole run on a tiny trunk, and its bound from the layers' own sizes."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks.cache.run import Trunk
from lightning_petl.adapters import LinearProbe, LoRA

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # a program of its own
def test_quick_run(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.cache.run",
        "--quick",
        "--results",
        str(tmp_path),
    ]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    (page,) = tmp_path.iterdir()
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| Side4Video light",
        "| linear probe",
        "| LoRA in the last block",
    ]
    assert all(float(row.split(" | ")[5]) > 0 for row in rows[2:])


def test_the_bound() -> None:
    """Four frames of 4 patches and a class token, width 192: patches, then 12 D² a token and two 5 x 5 x D products."""
    trunk = Trunk("vit_tiny_patch16_224", 32, 4, 4)
    tokens, width = 4 * 5, 192
    patches = 4 * 4 * 3 * 16**2 * width
    block = tokens * 12 * width**2 + 4 * 2 * 5 * 5 * width
    delta = 2 * tokens * 2 * (width + width)  # rank 2, on q and v
    assert trunk.bound(LinearProbe()) is None
    bound = (patches + 3 * block + 3 * (block + delta)) / (3 * (block + delta))
    assert trunk.bound(
        LoRA(rank=2, targets=("q", "v"), blocks="last 1")
    ) == pytest.approx(bound, rel=1e-2)
