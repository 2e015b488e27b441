"""A study tunes each method with one budget on clips of its own, and tests it with every seed."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from safetensors.torch import save_file

from experiments.study import results, run
from experiments.study.plan import LR, StudiedMethod, read
from lightning_petl import adapters
from lightning_petl.adapters import Adapter

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.parent for path in ROOT.glob("experiments/**/study.yaml"))
SMALL = {
    "title": "two heads",
    "protocol": "protocol.yaml",
    "learning_rates": [0.01, 0.1],
    "seeds": [3, 4],
    "tuning": {"data.init_args.render_seed": 1},
    "testing": {"data.init_args.render_seed": 2},
    "methods": [
        {"name": "head", "bank": True},
        {"name": "lora", "adapters": ["LoRA"], "learning_rates": [0.2, 0.4]},
    ],
}


def written(folder: Path, **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump({**SMALL, **changed}))
    return folder


class Sweeps:
    """Stand in for the command line: keep each call, and write what a sweep writes."""

    def __init__(self, scores: Sequence[str] = ("0.25", "0.5")) -> None:
        self.calls: list[list[str]] = []
        self.scores = scores

    def __call__(self, command: list[str], *, check: bool) -> None:
        assert check
        assert command[:3] == [sys.executable, "-m", "lightning_petl"]
        argv = command[3:]
        self.calls.append(argv)
        if "--grid" in argv and argv[0] == "sweep":
            folder = Path(value(argv, "--runs"), value(argv, "--name"))
            folder.mkdir(parents=True, exist_ok=True)
            rates = value(argv, "--grid").partition("=")[2].split(",")
            with (folder / "validation.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["member", LR, "score"])
                for rate, score in zip(rates, self.scores, strict=False):
                    writer.writerow([f"lr={rate}", rate, score])


def value(argv: Sequence[str], option: str) -> str:
    return argv[argv.index(option) + 1]


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sweeps:
    stand_in = Sweeps()
    monkeypatch.setattr(run.subprocess, "run", stand_in)
    monkeypatch.setattr(run, "fetch_trunk", lambda: Path("trunk.safetensors"))
    monkeypatch.chdir(tmp_path)
    return stand_in


def test_each_method_is_tuned_then_tested_with_every_seed(
    sweeps: Sweeps, tmp_path: Path
) -> None:
    folder = written(tmp_path / "study")
    assert run.main([str(folder), "--runs", "runs/it", "--jobs", "2"]) == 0
    head, head_tested, lora, lora_tested, compared = sweeps.calls
    assert value(head, "--grid") == f"{LR}=0.01,0.1"
    assert value(lora, "--grid") == f"{LR}=0.2,0.4"
    for call in (head, lora):
        assert value(call, "--seeds") == "3"
        assert value(call, "--test") == "none"
        assert "--data.init_args.render_seed=1" in call
    assert "--bank" in head
    assert "--bank" not in lora
    for call, rate in ((head_tested, 0.1), (lora_tested, 0.4)):
        assert value(call, "--seeds") == "3,4"
        assert f"--{LR}={rate}" in call
        assert "--test" not in call  # sweep tests all members
        assert "--data.init_args.render_seed=2" in call
    assert '--model.init_args.adapters=["LoRA"]' in lora_tested
    assert compared[0] == "compare"
    with (folder / "results" / results.RATES).open() as file:
        chosen = [row for row in csv.DictReader(file) if row["chosen"]]
    assert [(row["method"], row["learning rate"]) for row in chosen] == [
        ("head", "0.1"),
        ("lora", "0.4"),
    ]
    assert "| lora |" in (folder / "results" / "machine.md").read_text()


def test_a_study_takes_the_learning_rates_of_another(
    sweeps: Sweeps, tmp_path: Path
) -> None:
    folder = written(tmp_path / "study")
    assert run.main([str(folder), "--runs", "runs/it"]) == 0
    sweeps.calls.clear()
    inner = written(
        folder / "inner", chosen_by="..", vary={"data.percent": [5, 100]}
    )
    assert run.main([str(inner), "--runs", "runs/other"]) == 0
    head, lora, compared = sweeps.calls
    assert value(head, "--grid") == "data.percent=5,100"
    assert "--model.init_args.optim.lr=0.1" in head
    assert "--model.init_args.optim.lr=0.4" in lora
    assert value(compared, "--by") == "method,data.percent"


def test_of_equal_scores_the_first_rate_is_chosen_and_runs_without_one_are_not(
    tmp_path: Path,
) -> None:
    rows = [{"score": ""}, {"score": "0.5"}, {"score": "0.5"}, {"score": "0.25"}]
    assert results.best_row(rows) is rows[1]
    assert results.best_row(rows[:1]) is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"learning_rates": [0.1]}, "head: give two learning rates or more"),
        ({"methods": SMALL["methods"] * 2}, "two methods have one name"),
        ({"seeds": []}, "seeds: a study needs at least one"),
        ({"metods": []}, "metods"),
        ({"chosen_by": "nowhere"}, "chooses no learning rate for head"),
    ],
)
def test_wrong_studies(
    changed: dict[str, Any],
    told: str,
    sweeps: Sweeps,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = written(tmp_path / "study", **changed)
    assert run.main([str(folder)]) == 2
    assert told in capsys.readouterr().err
    assert sweeps.calls == []


def test_a_folder_without_study_and_a_method_that_is_not_there(
    sweeps: Sweeps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([str(tmp_path)]) == 2
    assert "holds no study.yaml" in capsys.readouterr().err
    folder = written(tmp_path / "study")
    assert run.main([str(folder), "--methods=lroa"]) == 2
    assert "no method 'lroa'; there are head, lora" in capsys.readouterr().err


def test_a_stopped_sweep_stops_the_study(
    monkeypatch: pytest.MonkeyPatch, sweeps: Sweeps, tmp_path: Path
) -> None:
    def stopped(command: list[str], *, check: bool) -> None:
        raise subprocess.CalledProcessError(75, command)

    monkeypatch.setattr(run.subprocess, "run", stopped)
    assert run.main([str(written(tmp_path / "study"))]) == 75


@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)
def test_the_studies_of_the_repository_are_read(folder: Path) -> None:
    study = read(folder)
    assert (folder / study.protocol).is_file()
    assert len(study.seeds) >= 3
    for method in study.methods:
        assert len(study.rates(method)) in (0, 3)


def names_of(method: StudiedMethod) -> set[str]:
    found = set[str]()
    for adapter in json.loads(method.adapters):
        found.add(adapter if isinstance(adapter, str) else adapter["class_path"])
    return found


def test_the_motion_study_has_every_method() -> None:
    study = read(ROOT / "experiments/motion")
    kinds = {
        name
        for name in adapters.__all__
        if isinstance(kind := getattr(adapters, name), type)
        and issubclass(kind, Adapter)
        and kind is not Adapter
    }
    # a linear probe is a stack without methods
    assert set[str]().union(*map(names_of, study.methods)) == kinds - {
        "LinearProbe"
    }


def test_the_fusion_leaves_out_each_of_the_five() -> None:
    study = read(ROOT / "experiments/multi_tunev/fusion")
    stacks = {method.name: names_of(method) for method in study.methods}
    five = stacks["all_five"]
    assert five == {"STAdapter", "VPT", "LoRA", "BitFit", "AdaptFormer"}
    singles = [stack for stack in stacks.values() if len(stack) == 1]
    fours = [stack for stack in stacks.values() if len(stack) == 4]
    assert len(fours) == 5
    assert set[str]().union(*singles) == five | {"FullFineTuning"}
    assert {frozenset(five - stack) for stack in fours} == {
        frozenset([name]) for name in five
    }


@pytest.mark.slow  # a dozen programs
def test_a_study_from_its_file_to_its_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "fetch_trunk", lambda: trunk)
    monkeypatch.chdir(tmp_path)
    # the same for all seeds
    vit = timm.create_model("vit_small_patch14_dinov2", depth=2)
    trunk = tmp_path / "trunk.safetensors"
    save_file(vit.state_dict(), trunk)
    folder = written(tmp_path / "study", methods=SMALL["methods"][1:])
    shutil.copy(ROOT / "experiments/motion/protocol.yaml", folder)
    protocol = yaml.safe_load((folder / "protocol.yaml").read_text())
    protocol["trainer"] |= {"max_epochs": 1, "check_val_every_n_epoch": 1}
    protocol["model"]["backbone"]["depth"] = 2
    protocol["data"]["init_args"] |= {"num_train": 12, "num_test": 6}
    for stage, seed in (("tuning", 1), ("testing", 2)):
        given = {"data.init_args.root": stage, "data.init_args.render_seed": seed}
        study = yaml.safe_load((folder / "study.yaml").read_text())
        (folder / "study.yaml").write_text(yaml.safe_dump({**study, stage: given}))
    (folder / "protocol.yaml").write_text(yaml.safe_dump(protocol))
    assert run.main([str(folder), "--runs", "runs/it"]) == 0
    text = (folder / "results" / "compare.md").read_text()
    assert "LoRA" in text
    assert (folder / "results" / "cost.png").is_file()
    tests = sorted(tmp_path.glob("runs/it/tested/lora/*/test"))
    assert [test.parent.name for test in tests] == ["seed=3", "seed=4"]
    # finished: nothing trains again
    before = {
        path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/**/*.ckpt")
    }
    assert run.main([str(folder), "--runs", "runs/it"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
