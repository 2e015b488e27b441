"""The data benchmark: its whole run on tiny clips, and that its check sees a wrong frame."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.benchmarks.data import measure
from experiments.benchmarks.data.report import Goal
from experiments.benchmarks.data.scenes import draw_clip
from experiments.benchmarks.grid import Grid

ROOT = Path(__file__).parents[2]
COMPETITORS = {"decord": "decord", "torchcodec": "torchcodec", "cv2": "OpenCV"}


@pytest.mark.slow
def test_quick_run_without_competitors(tmp_path: Path):
    absent = tmp_path / "absent"
    absent.mkdir()
    for module in COMPETITORS:
        (absent / f"{module}.py").write_text(
            f"raise ImportError('{module} was left out')\n"
        )
    command = [sys.executable, "-m", "experiments.benchmarks.data.run", "--quick"]
    folders = [
        "--cache",
        str(tmp_path / "cache"),
        "--results",
        str(tmp_path / "results"),
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(absent), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(
        [*command, *folders],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (page,) = (tmp_path / "results").iterdir()
    text = page.read_text()
    for module, name in COMPETITORS.items():
        assert f"- {name}: not available: {module} was left out" in text
        assert re.search(rf"^\| {name} \|( not available \|)+$", text, re.MULTILINE)
    assert re.search(r"^\| ours, RGB 224 \|( \d+\.\d \|)+$", text, re.MULTILINE)
    assert re.search(r"resident memory over \d+ clips of ours: [+-]\d", text)


def test_the_check_sees_a_neighbour_a_shift_and_an_order():
    video = torch.from_numpy(
        draw_clip(np.random.default_rng(0), 12, 64, 86, 30)
    ).permute(0, 3, 1, 2)
    expected, indices = dict(enumerate(video)), np.array([2, 5, 9])
    right = video[indices]
    assert measure.disagreement(right, expected, indices) is None
    assert measure.disagreement(video[indices + 1], expected, indices) is not None
    assert measure.disagreement(right.flip(0), expected, indices) is not None
    assert (
        measure.disagreement(right.roll(2, dims=-1), expected, indices) is not None
    )


def test_a_ratio_is_the_median_over_repeats_and_absent_without_one_side():
    times = {"slow": [10.0, 30.0, 20.0], "fast": [5.0, 10.0, 10.0]}
    assert measure.ratio(times, "slow", "fast") == 2
    assert measure.ratio(times, "slow", "other") is None


def test_interleaving_charges_each_reader_its_own_time():
    def busy(milliseconds: float):
        def read(path: Path, indices: np.ndarray) -> None:
            end = measure.time.process_time() + milliseconds / 1000
            while measure.time.process_time() < end:
                pass

        return read

    items = [(Path(), np.arange(2))] * 3
    times = measure.interleaved(
        {"a": busy(3), "b": busy(9)}, [items, items], lambda: None
    )
    assert [len(times[name]) for name in "ab"] == [2, 2]
    assert measure.ratio(times, "b", "a") == pytest.approx(3, rel=0.3)


def test_drawn_clips_are_the_same_for_the_same_seed():
    first, again, other = (
        draw_clip(np.random.default_rng(seed), 3, 32, 48, 12) for seed in (0, 0, 1)
    )
    assert first.shape == (3, 32, 48, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("measured", "reached"), [(2.0, "yes"), (1.94, "NO"), (None, "")]
)
def test_a_goal_says_whether_it_is_reached(measured: float | None, reached: str):
    assert Goal("x", 1.95, measured).cells[3] == reached


def test_a_table_is_markdown():
    assert (
        Grid("T", ["a", "b"], [["1", "2"]]).markdown()
        == "## T\n\n| a | b |\n| --- | --: |\n| 1 | 2 |\n"
    )
