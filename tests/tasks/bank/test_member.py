"""A few lines become many members, and wrong lines are told."""

from typing import Any

import pytest

from lightning_petl.adapters import MAdapter, Side4Video
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.optim.schedule import Schedule
from lightning_petl.tasks.bank.grid import expand
from lightning_petl.tasks.bank.member import Member, settings

SIDE = Member(adapters=[Side4Video(width=64), MAdapter(width=64)])


def test_a_grid_is_every_member_at_every_point() -> None:
    found = expand(
        {"a": Member(), "b": Member(clip_norm=1.0)},
        {"optim.lr": [0.1, 1e-4], "seed": [1, 2, 3]},
    )
    assert list(found)[:4] == [
        "a-lr=0.1-seed=1",
        "a-lr=0.1-seed=2",
        "a-lr=0.1-seed=3",
        "a-lr=0.0001-seed=1",
    ]
    assert len(found) == 12
    assert found["b-lr=0.0001-seed=2"] == Member(
        optim=OptimizerConfig(lr=1e-4), seed=2, clip_norm=1.0
    )


def test_an_axis_of_one_value_sets_it_without_a_name() -> None:
    assert expand({"a": Member()}, {"head.dropout": [0.1]})["a"].head.dropout == 0.1


def test_paths_lead_into_methods_and_schedules() -> None:
    grid = {
        "adapters.Side4Video.width": [64, 128],
        "optim.schedule.warmup": [2],
        "optim.betas": [[0.9, 0.95]],
    }
    found = expand({"side": SIDE}, grid)
    wide = found["side-width=128"]
    assert wide.adapters == [Side4Video(width=128), MAdapter(width=64)]
    assert wide.optim == OptimizerConfig(
        schedule=Schedule(warmup=2.0), betas=(0.9, 0.95)
    )
    assert settings(wide)["adapters.Side4Video.width"] == 128
    assert settings(wide)["adapters"] == "Side4Video+MAdapter"


def test_a_method_that_comes_twice_stays_twice() -> None:
    """A path with its name leads into both; a path with another one leaves both alone."""
    two = [Side4Video(width=64, taps=[0]), Side4Video(width=64, taps=[1])]
    member = Member(adapters=[*two, MAdapter(width=64)])
    grid = {"adapters.Side4Video.width": [128], "adapters.MAdapter.width": [96]}
    assert expand({"a": member}, grid)["a"].adapters == [
        Side4Video(width=128, taps=[0]),
        Side4Video(width=128, taps=[1]),
        MAdapter(width=96),
    ]


def test_equal_last_parts_are_told_apart_by_their_paths() -> None:
    grid = {
        "adapters.Side4Video.width": [64, 128],
        "adapters.MAdapter.width": [64, 128],
    }
    assert (
        "side-adapters.Side4Video.width=64-adapters.MAdapter.width=128"
        in expand({"side": SIDE}, grid)
    )


WRONG: list[tuple[dict[str, Member], dict[str, Any], str]] = [
    ({}, {}, "a bank without members"),
    ({"a/b": Member()}, {}, "'a/b' gets a folder"),
    (
        {"a": Member()},
        {"optim.rate": [1]},
        "no 'rate' here; there is algorithm, lr, weight_decay",
    ),
    ({"a": Member()}, {"optim.lr": []}, r"optim\.lr: the values must be given"),
    ({"a": Member()}, {"optim.lr": ["fast"]}, r"grid: optim\.lr: .*fast"),
    (
        {"a": Member()},
        {"optim.algorithm": ["adam"]},
        r"grid: optim\.algorithm: .*adam",
    ),
    (
        {"a": Member()},
        {"optim.lr": [0.1, 0.1]},
        r"optim\.lr: the values must be given and differ, not '0.1,0.1'",
    ),
    ({"a": Member()}, {"optim.lr": [-1.0]}, "lr must be above 0"),
    ({"a": Member()}, {"optim.lr.x": [1]}, r"optim\.lr\.x leads into 0\.001"),
    (
        {"a": Member()},
        {"adapters.Side4Video.width": [64]},
        "no 'Side4Video' here; there is nothing",
    ),
]


@pytest.mark.parametrize(
    ("members", "grid", "message"), WRONG, ids=[message for *_, message in WRONG]
)
def test_wrong_lines_are_told(
    members: dict[str, Member], grid: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        expand(members, grid)


def test_a_norm_to_clip_to_is_above_zero() -> None:
    with pytest.raises(ValueError, match="clip_norm 0"):
        Member(clip_norm=0.0)
