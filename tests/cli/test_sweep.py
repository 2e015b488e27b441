"""Sweeps through the command line: refusals, real trainings that are killed, members that fail, banks, clusters."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_petl.__main__ import main
from lightning_petl.cli.shipped_configs import with_paths
from tests.commands import Command
from tests.slurm.test_script import read_here

PROGRAM = Path(sys.executable).parent / "lightning-petl"
CPU = ["--trainer.accelerator=cpu", "--trainer.max_epochs=3"]


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small configuration, in which commands are given."""
    monkeypatch.chdir(command.config.parent)
    return command.config.parent


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "nothing varies"),
        (["--seeds=0,one"], "seeds must be whole numbers"),
        (["--seeds=0,0"], "must be given and differ, not '0,0'"),
        (["--seeds=0", "--grid=seed_everything=1"], "leave one out"),
        (["--grid=model.optim.lr=1,"], "one of '1,' is empty"),
        (["--grid=model.optim.lr=1,1"], "must be given and differ, not '1,1'"),
        (["--grid=model.optim.lr"], "is not KEY=VALUE,VALUE"),
        (["--grid=run_folder=a,b"], "is not KEY=VALUE,VALUE"),
        (["--seeds=0", "--jobs=0"], "jobs must be at least 1, not 0"),
        (["--seeds=0", "--jobs=many"], "jobs: expected a whole number"),
        (["--seeds=0", "--test=some"], "expected one of 'all', 'chosen', 'none'"),
        (["--seeds=0", "--name=a/b"], "--runs for another place"),
        (["--seeds=0", "-c", "confg.yaml"], "there is neither a file confg.yaml"),
        (["--seeds=0", "--trainer.max_epochs=5"], "stands behind --"),
        (["--seeds=0", "--", "--run_folder=x"], "sweep sets it from runs and name"),
        (["--seeds=0", "--slurm=x.yaml", "--bank"], "--bank is for members"),
    ],
)
def test_wrong_command_lines_are_told_and_leave_nothing(
    flags: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("model: {}\n")
    assert main(["sweep", "-c", "config.yaml", *flags]) == 2
    error = capsys.readouterr().err
    assert told in error or "confg" in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_configuration_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--seeds=0,1"]) == 2
    assert "config is not given (-c FILE)" in capsys.readouterr().err


def read_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # another process would import for longer than all else takes
    monkeypatch.setattr(
        "lightning_petl.cli.read_configurations.subprocess.run",
        lambda argv, *, input, **_: read_here(input),
    )


def test_a_grid_that_names_no_setting_is_told_with_near_names(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read_in_this_process(monkeypatch)
    argv = ["sweep", "-c", "config.yaml", "--grid=model.optim.lrr=1,2"]
    assert main(argv) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "'optim.lrr' is not accepted; near: lr" in told
    assert not (here / "runs").exists()


def test_on_a_cluster_it_is_the_array_that_submit_makes(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read_in_this_process(monkeypatch)
    site = ["--slurm", "slurm/cpu", "--time=10", "--name=lr", "--dry-run"]
    flags = ["-c", "config.yaml", "--seeds=0,1"]
    axis = "model.optim.lr=1e-3,3e-4"
    scripts = []
    for argv in (
        ["submit", *site, *flags, f"--sweep={axis}"],
        ["sweep", *flags, f"--grid={axis}", *site],
    ):
        assert main([*argv, "--", "--data.num_workers=1"]) == 0
        text = capsys.readouterr().out
        scripts.append(re.sub(r"\d{8}-\d{6}", "DATE", text))
    assert scripts[0] == scripts[1]
    assert "#SBATCH --array=0-3" in scripts[0]


def sweep(*words: str) -> subprocess.CompletedProcess[str]:
    """A sweep through the installed program, without an end on a terminal."""
    return subprocess.run(
        [PROGRAM, "sweep", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def started(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "sweep", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []


@pytest.mark.slow
def test_stopped_and_killed_it_goes_on_and_comes_to_the_same_weights(
    here: Path,
) -> None:
    words = ["-c", "config.yaml", "--seeds=0,1", "--name=s", "--test=none"]
    words += ["--", "--trainer.accelerator=cpu", "--trainer.max_epochs=30"]
    epochs = here / "runs/s/seed=0/epochs.txt"
    first = started(words)
    wait_for(lambda: len(lines_of(epochs)) > 3)
    first.send_signal(signal.SIGTERM)
    told = first.communicate()[0]
    assert first.returncode == 75, told
    assert "the same command goes on" in told
    assert "seed=0: interrupted" in told

    before = len(lines_of(epochs))
    second = started(words)
    wait_for(lambda: len(lines_of(epochs)) > before + 3)
    owner = (here / "runs/s/seed=0/.run.lock").read_text()
    member = int(re.findall(r"process (\d+)", owner)[0])
    second.kill()
    second.communicate()
    wait_for(lambda: not _lives(member))

    third = sweep(*words)
    assert third.returncode == 0, third.stdout + third.stderr
    begins = [line for line in lines_of(epochs) if "training" in line]
    assert [("goes on" in line) for line in begins] == [False, True, True]
    alone = [
        "fit",
        "-c",
        "config.yaml",
        "--seed_everything=1",
        "--run_folder=alone",
    ]
    assert main([*alone, *words[words.index("--") + 1 :]]) == 0
    weights = "artifact_last/adapter_model.safetensors"
    swept = here / "runs/s/seed=1" / weights
    assert swept.read_bytes() == (here / "alone" / weights).read_bytes()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # one that has ended and that nobody has asked for is no program any more
    status = Path(f"/proc/{process}/stat").read_text()
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_a_member_that_fails_is_told_and_stops_none_that_runs_beside_it(
    here: Path,
) -> None:
    words = [
        "-c",
        "config.yaml",
        "--grid=data.root=videos,nowhere,videos/",
        "--jobs=2",
    ]
    done = sweep(*words, "--", *CPU)
    assert done.returncode == 1, done.stderr
    told = done.stdout
    assert "root=nowhere: failed: " in told
    assert re.search(r"failed: fit of root=nowhere: .*nowhere.*log\.txt\)", told)
    lines = told.splitlines()
    running = [n for n, line in enumerate(lines) if "running, printing" in line]
    assert running[1] == running[0] + 1
    for name in ("root=videos", "root=videos_"):
        assert (here / "runs/sweep" / name / "test_scores.jsonl").is_file()
    assert (here / "runs/sweep/compare/compare.md").is_file()


def logits(member: Path) -> dict[str, list[list[float]]]:
    rows = [json.loads(line) for line in lines_of(member / "test_scores.jsonl")]
    return {row["clip_id"]: row["logits"] for row in rows}


@pytest.mark.slow
def test_a_bank_gives_what_runs_of_their_own_give(here: Path) -> None:
    config = yaml.safe_load((here / "config.yaml").read_text())
    side = {"width": 64, "norm": "group"}
    config["model"]["adapters"] = [{"class_path": "Side4Video", "init_args": side}]
    config["trainer"] = {"gradient_clip_val": 0.5}
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["-c", "config.yaml", "--grid=model.optim.lr=0.001,0.02"]
    alone = sweep(*words, "--name=alone", "--", *CPU)
    assert alone.returncode == 0, alone.stderr
    bank = sweep(*words, "--name=together", "--bank", "--", *CPU)
    assert bank.returncode == 0, bank.stderr
    assert (
        "2 of 2 members" in (here / "runs/together/bank/test_log.txt").read_text()
    )
    members = sorted((here / "runs/together/bank/members").iterdir())
    assert len(members) == 2
    for member in members:
        mine = logits(member)
        other = logits(here / "runs/alone" / member.name)
        assert mine.keys() == other.keys() != set()
        for clip, values in mine.items():
            np.testing.assert_allclose(values, other[clip], rtol=2e-3, atol=2e-4)
    tables = [
        (here / "runs" / name / "validation.csv").read_text()
        for name in ("alone", "together")
    ]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_a_method_that_changes_the_trunk_is_in_no_bank(here: Path) -> None:
    done = sweep(
        "-c", "config.yaml", "--grid=model.optim.lr=0.1,0.2", "--bank", "--", *CPU
    )
    assert done.returncode == 2
    assert "LoRA changes the trunk" in done.stderr.splitlines()[-1]
    assert not (here / "runs").exists()


@pytest.mark.parametrize("name", ["submit", "sweep"])
def test_what_a_file_is_built_on_is_read_once(name: str, here: Path) -> None:
    (here / "base.yaml").write_text("model:\n  adapters+: [BitFit]\n")
    text = (here / "config.yaml").read_text()
    (here / "config.yaml").write_text(f"configs: [base.yaml]\n{text}")
    taken = with_paths([name, "-c", "config.yaml", "--seeds=0"])
    assert taken == [name, "-c", "config.yaml", "--seeds=0"]
    assert with_paths(["fit", "-c", "config.yaml"]).count("-c") == 2
