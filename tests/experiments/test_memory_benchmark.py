"""The memory benchmark: it runs on a tiny trunk, knows every method, and counts what a computed pass keeps."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.benchmarks.memory import measure, report
from experiments.benchmarks.memory.methods import (
    AIM_ROW,
    B16,
    E14,
    FULL,
    L14,
    LIGHT,
    PLAIN,
    ROWS,
    TINY,
    Trunk,
    rows,
)
from lightning_petl import adapters
from lightning_petl.adapters import Adapter
from lightning_petl.cost.saved_memory import Saved

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # a program of its own
def test_quick_run_writes_a_page(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.memory.run",
        "--quick",
        "--results",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (page,) = tmp_path.glob("*.md")
    text = page.read_text()
    lines = [
        line.split(" | ") for line in text.splitlines() if line.startswith("| ")
    ]
    assert {cells[0].removeprefix("| ") for cells in lines} >= set(ROWS)
    assert torch.__version__ in text
    assert (report.NOT_MEASURED in text) != torch.cuda.is_available()
    assert (
        "NO |" not in text
    )  # counts without memory equal those of a computed pass
    assert text.count("| yes |") == len(ROWS)
    assert "linear probe" in done.stdout


def test_every_method_has_a_row() -> None:
    exported = {getattr(adapters, name) for name in adapters.__all__} - {
        Adapter,
        adapters.attach,
    }
    assert {type(recipe(B16)) for recipe in ROWS.values()} == exported


@pytest.mark.parametrize(
    ("trunk", "name", "count"),
    [
        (B16, LIGHT, 4_530_414), (B16, FULL, 21_112_686), (L14, LIGHT, 21_948_270), (L14, FULL, 102_108_846),
        (B16, "M-adapter", 4_814_522), (L14, "M-adapter", 20_267_718), (L14, "attentive probe", 49_514_670),
        (B16, "linear probe", 769 * 174), (B16, "full fine-tuning", 85_799_424 + 769 * 174),
    ],
)  # fmt: skip
def test_settings_are_the_published_ones(
    trunk: Trunk, name: str, count: int
) -> None:
    assert measure.trained_parameters(trunk, ROWS[name](trunk)) == count


def test_goals_as_a_share_of_aims() -> None:
    aim = measure.counted(B16, ROWS[AIM_ROW](B16), half=True).total
    for name, most in report.MOST_OF_AIM.items():
        assert measure.counted(B16, ROWS[name](B16), half=True).total <= most * aim


def test_a_goal_that_is_missed_says_so() -> None:
    mib = report.MIB
    sizes = {
        AIM_ROW: 1000,
        LIGHT: 75,
        FULL: 221,
        LIGHT + PLAIN: 100,
        FULL + PLAIN: 1,
    }
    found = {
        name: report.Row(0, Saved(0, 0), Saved(size * mib, 0))
        for name, size in sizes.items()
    }
    assert [cells[-1] for cells in report.goals_grid(found).rows] == [
        "yes",
        "NO",
        "yes",
        "yes",
        "yes",
        "NO",
    ]


def test_recomputed_modules_are_found() -> None:
    model = measure.Classifier(TINY, ROWS[FULL](TINY))
    assert len(model.recomputed) == 2
    assert measure.counted(TINY, ROWS[FULL](TINY), half=False).recomputed > 0
    assert not measure.Classifier(TINY, ROWS[FULL + PLAIN](TINY)).recomputed


def test_a_frozen_trunk_keeps_its_feature_for_the_head_alone() -> None:
    """A linear layer keeps what it reads; the loss is not part of the count."""
    saved = measure.counted(TINY, ROWS["linear probe"](TINY), half=False)
    assert saved == Saved(4 * 192, 0)
    assert saved == measure.counted_on_real_tensors(
        TINY, ROWS["linear probe"](TINY), half=False
    )


@pytest.mark.gpu
def test_a_step_on_the_gpu() -> None:
    device = measure.on_device(TINY, ROWS[FULL](TINY))
    assert device is not None
    assert (
        0
        < device.weights + device.gradients_and_optimiser
        < device.peak
        <= device.reserved
    )
    assert device.clips_per_second > 0
    grid = report.device_grid(
        TINY, {FULL: report.Row(0, Saved(0, 0), Saved(0, 0), device=device)}
    )
    assert len(grid.rows[0]) == len(grid.header)


def test_the_largest_trunk_is_counted_without_memory() -> None:
    ((_, recipe),) = rows(E14).items()
    assert measure.trained_parameters(E14, recipe(E14)) == 183_373_806
