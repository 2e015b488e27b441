"""The benchmark of the bank runs, and what it divides is what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks.bank.run import QUICK, members, page

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # a program of its own
def test_the_quick_run_writes_the_table(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.bank.run",
        "--quick",
        f"--output={table}",
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "bank of 16 linear heads" in table.read_text()


def test_the_ratios() -> None:
    """Trunk 1 s; members add 0, 1, 2 and 3 s: a bank of 7 s costs what it must, and one of 7.7 s a tenth more."""
    alone = dict(zip(members(QUICK), (1.0, 2.0, 3.0, 4.0), strict=True))
    seconds = alone | {
        "bank of these": 7.7,
        "bank of 16 linear heads": 1.1,
        "the trunk's pass": 1.0,
    }
    text = page(seconds, QUICK)
    assert text.count("**1.100**") == 2
    assert "/ sum of 4 runs: 0.77" in text
