"""One folder a run: nobody shares it, and a run goes on in it from what is whole and its own."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from lightning_petl.__main__ import main
from lightning_petl.runs.config_diff import config_differences
from lightning_petl.runs.folder import ATTEMPTS, RunFolder, new_version
from lightning_petl.runs.logger import LoggedStep
from tests.commands import Command


def checkpoint(path: Path, run: str, step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "run": run,
            "global_step": step,
            "row": [step - 1, {"a": 1.0}],
            "w": torch.zeros(1000),
        },
        path,
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a last checkpoint and two others."""
    run = RunFolder(tmp_path / "run")
    assert run.begin() is None
    for name, step in (("epoch=0-step=2", 2), ("epoch=1-step=4", 4), ("last", 5)):
        checkpoint(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", run.id, step)
    run.release()
    return tmp_path / "run"


def test_goes_on_from_the_last_checkpoint_with_what_was_logged_there(
    folder: Path,
) -> None:
    run = RunFolder(folder)
    point = run.begin()
    assert point is not None
    assert (point.path.name, point.step, point.row) == (
        "last.ckpt",
        5,
        LoggedStep(4, {"a": 1.0}),
    )


def test_a_checkpoint_cut_in_half_is_refused_and_the_previous_one_is_used(
    folder: Path,
) -> None:
    cut(folder / "checkpoints" / "last.ckpt")
    with pytest.warns(
        UserWarning,
        match=r"not readable: .*last\.ckpt: cut short, damaged.*going on from .*step=4\.ckpt at update 4 instead",
    ):
        point = RunFolder(folder).begin()
    assert point is not None
    assert point.step == 4


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_where_nothing_can_be_read_nothing_starts_again_by_itself(
    folder: Path, content: bytes
) -> None:
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(content)
    with pytest.raises(ValueError, match="none of its checkpoints can be read"):
        RunFolder(folder).begin()


def test_another_runs_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    other.begin()
    (other.path / "checkpoints").mkdir()
    shutil.copy(
        folder / "checkpoints" / "last.ckpt",
        other.path / "checkpoints" / "last.ckpt",
    )
    with pytest.raises(
        ValueError, match=r"last\.ckpt belongs to another run than .*other"
    ):
        other.begin()


def test_restarts_without_progress_end_after_three(folder: Path) -> None:
    for _ in range(3):
        run = RunFolder(folder)
        run.begin()
        run.release()
    run = RunFolder(folder)
    with pytest.raises(
        ValueError,
        match=r"was started 3 times at update 5 and came no further.*run\.json",
    ):
        run.begin()
    run.release()
    checkpoint(
        folder / "checkpoints" / "last.ckpt",
        json.loads((folder / "run.json").read_text())["id"],
        6,
    )
    run = RunFolder(folder)
    assert run.begin() is not None
    run.finished()
    assert json.loads((folder / "run.json").read_text())["starts"] == []


def test_the_third_start_is_not_the_fourth_for_a_rank_that_reads_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under srun all ranks start at once; the others may read what rank zero has just noted."""
    for _ in range(3):
        first = RunFolder(folder)
        point = first.begin()
        with monkeypatch.context() as patch:
            patch.setattr("lightning_petl.runs.folder.leads", lambda: False)
            assert RunFolder(folder).begin() == point
        first.release()


def test_a_start_that_is_withdrawn_is_none(folder: Path) -> None:
    for _ in range(5):
        run = RunFolder(folder)
        run.begin()
        run.withdraw()
        run.release()
    assert json.loads((folder / "run.json").read_text())["starts"] == [0]


def test_files_that_a_killed_process_left_are_removed(folder: Path) -> None:
    for name in (".last.ckpt.123.tmp", ".partial-ranking.csv"):
        (folder / "checkpoints" / name).touch()
    RunFolder(folder)
    assert sorted(os.listdir(folder / "checkpoints")) == [
        "epoch=0-step=2.ckpt",
        "epoch=1-step=4.ckpt",
        "last.ckpt",
    ]


HOLD = "import sys, time; from pathlib import Path; from lightning_petl.runs.folder import RunFolder; "
HOLD += (
    "run = RunFolder(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
)


def test_two_jobs_never_share_a_folder_and_a_dead_one_leaves_it(
    tmp_path: Path,
) -> None:
    environment = os.environ | {"SLURM_JOB_ID": "4711"}
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        env=environment,
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(
            ValueError,
            match=rf"run is in use by process {owner.pid} on \S+, job 4711: ",
        ):
            RunFolder(tmp_path / "run")
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    RunFolder(tmp_path / "run").release()


def _claim(root: Path, queue: "multiprocessing.Queue[str]") -> None:
    for _ in range(20):
        queue.put(new_version(root).name)


def test_versions_are_claimed_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[str] = context.Queue()
    processes = [
        context.Process(target=_claim, args=(tmp_path, queue)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    names = [queue.get(timeout=30) for _ in range(80)]
    for process in processes:
        process.join()
    assert sorted(names) == sorted(f"version_{number}" for number in range(80))


def test_changes_are_named_with_both_values() -> None:
    before = {"a": 1, "b": {"c": [1], "d": None}, "gone": 2}
    now = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "new": 3}
    found = {
        ("b.c[1]", "None", "2"),
        ("b.d", "None", "x"),
        ("gone", "2", "None"),
        ("new", "None", "3"),
    }
    assert {
        (key, str(old), str(new))
        for key, old, new in config_differences(before, now)
    } == found


def test_a_resume_reports_every_change_and_keeps_the_updates(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command.runs / "mine"
    assert main(command("fit", [f"--run_folder={run}"])) == 0
    capsys.readouterr()
    changed = [
        "--trainer.max_epochs=2",
        "--model.optim.lr=0.5",
        "--model.label_smoothing=0.1",
    ]
    assert main(command("fit", [f"--run_folder={run}", *changed])) == 0
    shown = capsys.readouterr().out
    told = [line.strip() for line in shown.splitlines() if " -> " in line]
    assert f"not as in {run / 'config.yaml'}:\n" in shown
    assert set(told) == {
        "trainer.max_epochs: 1 -> 2",
        "model.init_args.optim.lr: 0.01 -> 0.5",
        "model.init_args.label_smoothing: 0.0 -> 0.1",
    }
    assert (
        main(
            command(
                "fit",
                [
                    f"--run_folder={run}",
                    "--trainer.max_epochs=3",
                    "--data.batch_size=2",
                ],
            )
        )
        == 2
    )
    told = capsys.readouterr().err.splitlines()[-1]
    assert "an update was 3 clips (1 ranks x 1 passes x 3), now 2 clips" in told
    assert "set model.optim.global_batch=3" in told


def test_a_changed_adapter_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command.runs / "mine"
    assert (
        main(command("fit", [f"--run_folder={run}", "--model.adapters+=BitFit"]))
        == 0
    )
    capsys.readouterr()
    # one more than the starts that may come no further: none of these counts
    for _ in range(ATTEMPTS + 1):
        flags = ["--model.adapters.init_args.rank=3", "--trainer.max_epochs=2"]
        assert main(command("fit", [f"--run_folder={run}", *flags])) == 2
        shown = capsys.readouterr()
        assert "model.init_args.adapters[0].init_args.rank: 2 -> 3\n" in shown.out
        assert "model.init_args.adapters[1]: {'class_path': 'BitFit'" in shown.out
        assert "belongs to another stack of adapters" in shown.err
    assert (
        main(
            command(
                "fit",
                [
                    f"--run_folder={run}",
                    "--model.adapters+=BitFit",
                    "--trainer.max_epochs=2",
                ],
            )
        )
        == 0
    )
    assert "rank: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        (
            "--trainer.logger=false",
            "trainer.logger=false: a training always writes its events to its folder",
        ),
        (
            "--checkpoint.dirpath=elsewhere",
            r"checkpoint\.dirpath=\S*elsewhere: .*give the folder as --run_folder",
        ),
    ],
)
def test_what_a_resume_needs_lies_in_the_folder(
    flag: str, told: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(command("fit", [f"--run_folder={command.runs / 'mine'}", flag])) == 2
    )
    assert re.search(told, capsys.readouterr().err.splitlines()[-1])
    assert not (command.runs / "mine").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["fit", "test"])
def test_what_is_no_checkpoint_is_told(
    name: str,
    content: bytes,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "x.ckpt").write_bytes(content)
    assert main(command(name, [f"--ckpt_path={tmp_path / 'x.ckpt'}"])) == 2
    told = capsys.readouterr().err
    assert told.endswith(
        "x.ckpt cannot be read: cut short, damaged, or no checkpoint\n"
    )
    assert "Traceback" not in told


def test_without_a_run_folder_nothing_is_resumed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an older run's checkpoint nor what Lightning takes for one under SLURM."""
    assert main(command("fit")) == 0
    shutil.copy(
        command.runs / "version_0" / "checkpoints" / "last.ckpt",
        command.runs / "hpc_ckpt_7.ckpt",
    )
    values = {
        "NTASKS": "1",
        "JOB_ID": "1",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
        "JOB_NAME": "x",
        "NODELIST": "n",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice to use srun
        assert main(command("fit")) == 0
    steps = [
        torch.load(
            command.runs / f"version_{n}" / "checkpoints" / "last.ckpt",
            weights_only=True,
        )["global_step"]
        for n in (0, 1)
    ]
    assert steps == [3, 3]
    (command.runs / "version_1" / "hpc_ckpt_7.ckpt").touch()
    assert main(command("fit", [f"--run_folder={command.runs / 'version_1'}"])) == 2


def test_a_run_folder_is_for_training(command: Command, tmp_path: Path) -> None:
    """A run's own configuration names its folder; a test of it goes elsewhere."""
    assert (
        main(
            command(
                "test", ["--untrained=true", f"--run_folder={tmp_path / 'run'}"]
            )
        )
        == 0
    )
    assert not (tmp_path / "run").exists()
    assert (command.runs / "version_0" / "test_scores.jsonl").is_file()


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b"[1]",
        b"\xff",
        b'{"id": 3, "starts": []}',
        b'{"id": "a", "starts": "x"}',
    ],
)
def test_a_spoiled_record_of_a_run_is_told(record: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(record)
    with pytest.raises(ValueError, match=r"run\.json: "):
        RunFolder(tmp_path)
