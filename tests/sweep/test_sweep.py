"""The flow of a sweep with programs that stand in for fit and test: resume, failures, refusals, the comparison."""

import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_petl.grids.points import points
from lightning_petl.sweep import run as sweeping
from lightning_petl.sweep.bank_form import configuration, group, names
from lightning_petl.sweep.order import SweepMember, SweepOrder
from lightning_petl.sweep.plan import planned
from lightning_petl.sweep.scores import ValidationScore

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "trainer": {
        "accelerator": "cpu", "devices": 1, "gradient_clip_val": 0.5,
        "gradient_clip_algorithm": None, "callbacks": None,
    },
    "model": {
        "class_path": "VideoClassifier",
        "init_args": {
            "backbone": {"class_path": "VideoViT", "init_args": {"name": "tiny", "readout": "cls"}},
            "adapters": [], "label_smoothing": 0.1,
            "head": {"class_path": "LinearHead", "init_args": {"dropout": 0.5}},
            "optim": {"lr": 0.1, "global_batch": None},
        },
    },
    "data": {"class_path": "VideoFolder", "init_args": {"seed": None, "batch_size": 2}},
    "checkpoint": {"monitor": "val/top1", "mode": "max"},
    "run_folder": None,
    "artifact": None,
}  # fmt: skip

# Stands in for the program: says what it does in `calls.txt`, and fails for the run that `.broken` names.
PROGRAM = """
import pathlib, sys
command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with open(folder.parent / "calls.txt", "a") as calls:
    calls.write(f"{command} {folder.name}\\n")
broken = folder.parent / ".broken"
if broken.exists() and broken.read_text() == folder.name:
    sys.exit("disk is full")
if folder.name == "bank":
    rows = "member,val/top1,step\\nlr=0.1,0.5,1\\nlr=0.2,0.9,1\\nlr=0.3,,\\n"
    (folder / "ranking.csv").write_text(rows)
(folder / ("config.yaml" if command == "fit" else "test_config.yaml")).touch()
"""


class Tools:
    """In the place of the command line: configurations with the flags in them, scores by learning rate."""

    def __init__(self) -> None:
        self.changed: dict[str, Any] = {}
        self.compared: list[list[str]] = []

    def read(self, lines: list[list[str]], *, built: bool = False) -> list[str]:
        texts = []
        for line in lines:
            config = deepcopy(CONFIG) | self.changed
            for word in line:
                key, _, value = word.removeprefix("--").partition("=")
                if key == "model.optim.lr":
                    config["model"]["init_args"]["optim"]["lr"] = float(value)
                elif key == "data.batch_size":
                    config["data"]["init_args"]["batch_size"] = int(value)
                elif key in ("seed_everything", "run_folder"):
                    config[key] = value
            texts.append(yaml.safe_dump(config))
        return texts

    def score(self, run: Path) -> ValidationScore:
        return ValidationScore("val/top1", 0.9 if "lr=0.2" in run.name else 0.5)

    def compare(self, runs: Sequence[Path], output: Path) -> int:
        self.compared.append([run.name for run in runs])
        return 0

    def environment(self) -> dict[str, str]:
        return {}


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    """And the program that stands in for ours."""

    def program(argv: Sequence[str]) -> list[str]:
        (folder,) = (word for word in argv if word.startswith("--run_folder="))
        return [
            sys.executable,
            "-c",
            PROGRAM,
            argv[0],
            folder.removeprefix("--run_folder="),
        ]

    monkeypatch.setattr(sweeping, "program", program)
    return Tools()


def order(folder: Path, grid: dict[str, list[str]], **options: Any) -> SweepOrder:
    return SweepOrder(
        **{
            "folder": folder / "lr",
            "config": [],
            "fit": [],
            "grid": grid,
            "points": points(grid, "grid"),
            "seeds": False,
        }
        | options
    )


LR = {"model.optim.lr": ["0.1", "0.2", "0.3"]}


def calls(folder: Path) -> list[str]:
    file = folder / "lr" / "calls.txt"
    lines = file.read_text().splitlines()
    file.unlink()
    return lines


def test_all_are_trained_then_tested_then_compared_and_once_only(
    tools: Tools, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeping.sweep(order(tmp_path, LR), tools) == 0
    runs = ["lr=0.1", "lr=0.2", "lr=0.3"]
    expected = [f"{command} {run}" for command in ("fit", "test") for run in runs]
    assert calls(tmp_path) == expected
    assert "chosen by validation: lr=0.2" in capsys.readouterr().out
    assert sweeping.sweep(order(tmp_path, LR), tools) == 0
    assert not (tmp_path / "lr/calls.txt").exists()
    assert tools.compared == [runs, runs]
    frozen = yaml.safe_load((tmp_path / "lr/lr=0.3/submitted.yaml").read_text())
    assert frozen["model"]["init_args"]["optim"]["lr"] == 0.3


def test_a_run_whose_folder_was_deleted_is_made_anew(
    tools: Tools, tmp_path: Path
) -> None:
    assert sweeping.sweep(order(tmp_path, LR), tools) == 0
    calls(tmp_path)
    for name in ("config.yaml", "test_config.yaml"):
        (tmp_path / "lr/lr=0.2" / name).unlink()
    assert sweeping.sweep(order(tmp_path, LR), tools) == 0
    assert calls(tmp_path) == ["fit lr=0.2", "test lr=0.2"]


def test_the_chosen_setting_alone_is_tested_where_that_is_asked_for(
    tools: Tools, tmp_path: Path
) -> None:
    grid = LR | {"seed_everything": ["0", "1"]}
    assert (
        sweeping.sweep(order(tmp_path, grid, tested="chosen", seeds=True), tools)
        == 0
    )
    tested = [line for line in calls(tmp_path) if line.startswith("test")]
    assert tested == ["test lr=0.2,seed=0", "test lr=0.2,seed=1"]
    assert tools.compared == [["lr=0.2,seed=0", "lr=0.2,seed=1"]]


def test_a_member_that_fails_stops_no_other_and_is_tried_three_times(
    tools: Tools, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lr").mkdir()
    broken = tmp_path / "lr" / ".broken"
    broken.write_text("lr=0.2")
    for start in range(3):
        assert sweeping.sweep(order(tmp_path, LR), tools) == 1
        told = capsys.readouterr().out
        assert "failed: fit of lr=0.2: disk is full" in told
        assert "fit lr=0.2" in calls(tmp_path)
        assert ("unless --retry is given" in told) == (start == 2)
    assert tools.compared == [["lr=0.1", "lr=0.3"]] * 3
    broken.unlink()
    assert sweeping.sweep(order(tmp_path, LR), tools) == 1
    assert not (tmp_path / "lr/calls.txt").exists()
    assert sweeping.sweep(order(tmp_path, LR, retry=True), tools) == 0
    assert calls(tmp_path) == ["fit lr=0.2", "test lr=0.2"]


def test_another_sweep_in_the_same_folder_is_refused(
    tools: Tools, tmp_path: Path
) -> None:
    assert sweeping.sweep(order(tmp_path, LR), tools) == 0
    status = (tmp_path / "lr/status.json").read_text()
    other = {"model.optim.lr": ["0.1", "0.2"]}
    with pytest.raises(ValueError, match=r"holds another sweep .*another --name"):
        sweeping.sweep(order(tmp_path, other), tools)
    with pytest.raises(ValueError, match="bank: False -> True"):
        sweeping.sweep(order(tmp_path, LR, bank=True), tools)
    tools.changed = {"checkpoint": {"monitor": "val/loss", "mode": "max"}}
    with pytest.raises(
        ValueError, match=r"lr=0\.1: checkpoint\.monitor: val/top1 -> val/loss"
    ):
        sweeping.sweep(order(tmp_path, LR), tools)
    assert (tmp_path / "lr/status.json").read_text() == status


def test_a_folder_of_something_else_is_refused(
    tools: Tools, tmp_path: Path
) -> None:
    (tmp_path / "lr" / "version_0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds .version_0. and no sweep\.yaml"):
        sweeping.sweep(order(tmp_path, LR), tools)
    assert [path.name for path in (tmp_path / "lr").iterdir()] == ["version_0"]


def test_two_sweeps_in_one_folder_at_once_are_refused(
    tools: Tools, tmp_path: Path
) -> None:
    (tmp_path / "lr").mkdir()
    lock = sweeping.lock(tmp_path / "lr/.sweep.lock", tmp_path, "--name")
    with pytest.raises(
        ValueError, match=r"in use by process \d+ .* another --name"
    ):
        sweeping.sweep(order(tmp_path, LR), tools)
    sweeping.os.close(lock)
    assert sweeping.sweep(order(tmp_path, LR), tools) == 0


def test_a_dry_run_writes_nothing(
    tools: Tools, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweeping.sweep(order(tmp_path, LR, dry_run=True), tools) == 0
    assert f"would train {tmp_path / 'lr' / 'lr=0.2'}" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_seed_of_the_data_beside_seeds_is_refused(
    tools: Tools, tmp_path: Path
) -> None:
    data = deepcopy(CONFIG["data"])
    data["init_args"]["seed"] = 3
    tools.changed = {"data": data}
    grid = {"seed_everything": ["0", "1"]}
    with pytest.raises(ValueError, match="--grid seed_everything=0,1"):
        sweeping.sweep(order(tmp_path, grid, seeds=True), tools)


def in_bank(
    folder: Path, grid: dict[str, list[str]], tools: Tools
) -> list[SweepMember]:
    return planned(order(folder, grid), tools).members


def test_members_that_share_their_seed_share_a_bank(
    tools: Tools, tmp_path: Path
) -> None:
    grid = {"model.optim.lr": ["0.1", "0.2"], "seed_everything": ["0", "1"]}
    groups = group(in_bank(tmp_path, grid, tools))
    assert names(groups) == ["seed=0", "seed=1"]
    assert [member.name for member in groups[1]] == [
        "lr=0.1,seed=1",
        "lr=0.2,seed=1",
    ]
    bank = configuration(groups[1])
    assert bank["seed_everything"] == "1"
    assert bank["trainer"]["gradient_clip_val"] is None
    assert bank["model"]["class_path"] == "Bank"
    assert bank["model"]["init_args"]["members"]["lr=0.2,seed=1"] == {
        "adapters": [],
        "head": {"dropout": 0.5},
        "optim": {"lr": 0.2, "global_batch": None},
        "label_smoothing": 0.1,
        "clip_norm": 0.5,
    }
    plan = planned(order(tmp_path, grid, bank=True), tools)
    assert [training.name for training in plan.trainings] == ["seed=0", "seed=1"]
    assert plan.members[3].folder == tmp_path / "lr/seed=1/members/lr=0.2,seed=1"
    assert plan.members[3].setting == "lr=0.2"


def test_a_read_out_of_its_own_is_that_of_a_member_without_readers(
    tools: Tools, tmp_path: Path
) -> None:
    members = in_bank(tmp_path, LR, tools)
    models = [member.config["model"]["init_args"] for member in members]
    for model in models[1:]:
        model["backbone"]["init_args"]["readout"] = "mean"
    models[2]["adapters"] = [{"class_path": "Side4Video"}]
    (found,) = group(members)
    bank = configuration(found)["model"]["init_args"]
    assert bank["backbone"]["init_args"]["readout"] == "cls"
    readouts = [recipe.get("readout") for recipe in bank["members"].values()]
    assert readouts == [None, "mean", None]


@pytest.mark.parametrize(
    ("tested", "compared"),
    [("all", [["lr=0.1", "lr=0.2"]]), ("chosen", []), ("none", [])],
)
def test_a_member_of_a_bank_without_a_score_has_failed(
    tested: str,
    compared: list[list[str]],
    tools: Tools,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = order(tmp_path, LR, bank=True, tested=tested)
    assert sweeping.sweep(asked, tools) == 1
    told = capsys.readouterr().out
    assert "failed: lr=0.3: its loss is no number" in told
    assert "chosen by validation: lr=0.2" in told
    expected = ["fit bank"] if tested == "none" else ["fit bank", "test bank"]
    assert calls(tmp_path) == expected
    assert tools.compared == compared


def test_one_bank_alone_has_no_name_of_values(tools: Tools, tmp_path: Path) -> None:
    groups = group(in_bank(tmp_path, LR, tools))
    assert names(groups) == ["bank"]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model.class_path", "VideoTextRetrieval", "model is VideoTextRetrieval"),
        ("model.init_args.head.class_path", "TextHead", r"model\.head is TextHead"),
        ("trainer.callbacks", [{"class_path": "EarlyStopping"}], "as one run"),
        ("trainer.gradient_clip_algorithm", "value", "members clip norms"),
        ("checkpoint.monitor", "val/loss", r"are those of val/top1"),
        ("artifact", "mine", "begins with initial values"),
    ],
)
def test_what_has_no_equal_in_a_bank_is_refused_by_its_key(
    key: str, value: Any, told: str, tools: Tools, tmp_path: Path
) -> None:
    section, *_ = key.split(".")
    changed = deepcopy(CONFIG)
    inner = changed
    for part in key.split(".")[:-1]:
        inner = inner[part]
    inner[key.split(".")[-1]] = value
    tools.changed = {section: changed[section]}
    with pytest.raises(ValueError, match=f"bank: .*{told}.*leave --bank out"):
        planned(order(tmp_path, LR, bank=True), tools)


def test_an_axis_that_a_bank_shares_is_refused_by_its_key(
    tools: Tools, tmp_path: Path
) -> None:
    grid = {"data.batch_size": ["2", "4"]}
    with pytest.raises(ValueError, match=r"differ in data\.init_args\.batch_size"):
        planned(order(tmp_path, grid, bank=True), tools)
