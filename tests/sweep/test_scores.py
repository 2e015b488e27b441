"""Settings are ranked by the mean over seeds of what validation says."""

import csv
import math
from pathlib import Path

import pytest

from lightning_petl.grids.points import points
from lightning_petl.sweep.order import SweepMember
from lightning_petl.sweep.scores import (
    ValidationScore,
    of_bank,
    rank,
    write_scores,
)


def members(
    folder: Path, mode: str = "max", lr: str = "1e-3,1e-2", seeds: str = "0,1"
) -> list[SweepMember]:
    grid = {"model.optim.lr": lr.split(","), "seed_everything": seeds.split(",")}
    found = []
    for point in points(grid):
        found.append(
            SweepMember(
                name=point.folder,
                words=point.words,
                training=point.folder,
                folder=folder / point.folder,
                config={"checkpoint": {"mode": mode}},
                text="",
            )
        )
    return found


def scored(monitor: str, *values: float) -> dict[str, ValidationScore]:
    names = ["lr=1e-3,seed=0", "lr=1e-3,seed=1", "lr=1e-2,seed=0", "lr=1e-2,seed=1"]
    pairs = zip(names, values, strict=False)
    return {name: ValidationScore(monitor, value) for name, value in pairs}


def test_the_best_mean_is_first_and_not_the_best_member(tmp_path: Path) -> None:
    best, other = rank(members(tmp_path), scored("val/top1", 0.9, 0.1, 0.6, 0.8))
    assert (best.name, other.name) == ("lr=1e-2", "lr=1e-3")
    assert best.mean == pytest.approx(0.7)
    assert best.spread == pytest.approx(0.1 * math.sqrt(2))


def test_a_loss_is_the_better_the_smaller(tmp_path: Path) -> None:
    found = rank(members(tmp_path, "min"), scored("val/loss", 1.0, 2.0, 3.0, 4.0))
    assert [setting.name for setting in found] == ["lr=1e-3", "lr=1e-2"]


def test_a_setting_that_misses_members_is_not_chosen(tmp_path: Path) -> None:
    found = rank(members(tmp_path), scored("val/top1", 0.1, 0.1, 0.9))
    assert [setting.name for setting in found] == ["lr=1e-3", "lr=1e-2"]
    assert not found[1].whole
    assert math.isnan(found[1].spread)


def test_different_metrics_choose_nothing(tmp_path: Path) -> None:
    scores = scored("val/top1", 0.1) | {
        "lr=1e-2,seed=0": ValidationScore("val/loss", 2.0)
    }
    with pytest.raises(ValueError, match=r"val/loss \(max\), val/top1 \(max\)"):
        rank(members(tmp_path), scores)


def test_scores_are_written_by_key(tmp_path: Path) -> None:
    its_members = members(tmp_path, lr="1e-3", seeds="0,1")
    states = {"lr=1e-3,seed=0": "done", "lr=1e-3,seed=1": "failed"}
    path = write_scores(tmp_path, its_members, scored("val/top1", 0.5), states)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows == [
        [
            "member",
            "model.optim.lr",
            "seed_everything",
            "monitor",
            "score",
            "state",
        ],
        ["lr=1e-3,seed=0", "1e-3", "0", "val/top1", "0.5", "done"],
        ["lr=1e-3,seed=1", "1e-3", "1", "", "", "failed"],
    ]


def test_a_member_of_a_bank_that_stopped_has_no_score(tmp_path: Path) -> None:
    (tmp_path / "ranking.csv").write_text(
        "member,val/top1,step,optim.lr,stopped\na,0.5,3,0.1,\nb,0.75,1,9,2\nc,,,1,\n"
    )
    assert of_bank(tmp_path) == {"a": ValidationScore("val/top1", 0.5)}
    assert of_bank(tmp_path / "nothing") == {}
