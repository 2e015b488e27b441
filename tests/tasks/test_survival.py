"""What no signal announces: killed ranks, another number of ranks, a full disk."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from experiments.drill.run import METHODS, drill
from lightning_petl.__main__ import main
from tests.commands import Command, write_videos

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]


@contextmanager
def start(arguments: list[str]) -> "Generator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_petl", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ranks(process: "subprocess.Popen[str]") -> list[int]:
    """The processes that rank zero started as ranks."""
    tasks = (
        Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    )
    commands = {
        int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in tasks
    }
    return [child for child, command in commands.items() if b"\0fit\0" in command]


def await_file(path: Path, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


def await_end(pid: int) -> None:
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_of_the_stops_of_the_drill(method: str, tmp_path: Path) -> None:
    stops, differences = drill(tmp_path, method, stops=2, epochs=3, seed=0)
    assert {stop.kind for stop in stops} == {signal.SIGKILL, signal.SIGUSR1}
    assert differences == []


def test_a_drill_of_too_many_stops_is_refused_before_it_trains() -> None:
    command = [
        sys.executable,
        "-m",
        "experiments.drill.run",
        "--stops=5",
        "--epochs=2",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 2
    assert done.stderr.endswith(
        "--stops 5: at most 4 fit into --epochs 2; give more epochs\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["rank one", "rank zero"])
def test_a_killed_rank_takes_the_others_with_it_and_is_named(
    whose: str, command: Command
) -> None:
    run = command.runs / "run"
    flags = [
        *TWO,
        f"--run_folder={run}",
        "--trainer.max_epochs=10000",
        "--preemption.every_n_steps=1",
    ]
    with start(command("fit", flags)) as process:
        await_file(run / "checkpoints" / "last.ckpt", process)
        (other,) = ranks(process)
        os.kill(other if whose == "rank one" else process.pid, signal.SIGKILL)
        told = process.communicate(timeout=60)[1]
        await_end(other)
    if whose == "rank one":
        assert process.returncode == 1
        assert (
            f"lightning-petl: rank 1 (process {other}) was ended by SIGKILL; the others stop"
            in told
        )


@pytest.mark.slow
@pytest.mark.parametrize("devices", [[], TWO], ids=["one rank", "two ranks"])
def test_ctrl_c_ends_all_ranks_with_130_and_counts_as_no_start(
    devices: list[str], command: Command
) -> None:
    """A terminal sends it to every process in the foreground."""
    run = command.runs / "run"
    flags = [
        *devices,
        f"--run_folder={run}",
        "--trainer.max_epochs=10000",
        "--preemption.every_n_steps=1",
    ]
    with start(command("fit", flags)) as process:
        await_file(run / "checkpoints" / "last.ckpt", process)
        others = ranks(process)
        assert len(others) == len(devices[:1])
        os.killpg(process.pid, signal.SIGINT)
        told = process.communicate(timeout=60)[1]
        assert process.returncode == 130, told
        assert "Traceback" not in told
        for pid in others:
            await_end(pid)
    assert json.loads((run / "run.json").read_text())["starts"] == []


@pytest.mark.slow
def test_the_clips_of_every_update_stay_on_another_number_of_ranks(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Epochs of 20 updates of 6 clips: two ranks are stopped in the first one, one goes on."""
    write_videos(command.videos, train=60)
    shared = [
        "--model.optim.global_batch=6",
        "--trainer.max_epochs=2",
        "--checkpoint.monitor=null",
    ]
    shared += ["--trainer.limit_val_batches=0"]

    def fit(name: str, run: str, *flags: str) -> list[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        recorder = {
            "class_path": "experiments.drill.recorder.Recorder",
            "init_args": {"folder": str(tmp_path / name)},
        }
        recorded = [
            f"--trainer.callbacks+={json.dumps(recorder)}",
            f"--run_folder={tmp_path / run}",
        ]
        return command("fit", [*shared, *recorded, *flags])

    with start(fit("two", "run", *TWO)) as process:
        await_file(tmp_path / "two" / "rank_0.jsonl", process)
        process.send_signal(signal.SIGUSR1)
        told = process.communicate(timeout=240)[1]
        assert process.returncode == 75, told
    capsys.readouterr()
    assert main(fit("refused", "run", "--model.optim.global_batch=9")) == 2
    assert (
        "an update was 6 clips (2 ranks x 1 passes x 3), now 9 clips"
        in capsys.readouterr().err
    )
    with pytest.warns(UserWarning, match=r"random states of 2 rank"):
        assert main(fit("one", "run")) == 0
    assert main(fit("alone", "another")) == 0
    before = clips(
        tmp_path / "two" / "rank_0.jsonl", tmp_path / "two" / "rank_1.jsonl"
    )
    after, alone = (
        clips(tmp_path / "one" / "rank_0.jsonl"),
        clips(tmp_path / "alone" / "rank_0.jsonl"),
    )
    assert max(before)[0] == 0  # in the first epoch
    assert not before.keys() & after.keys()
    assert before | after == alone
    assert len(alone) == 40


def clips(*logs: Path) -> dict[tuple[int, int], set[str]]:
    """What each update of each epoch saw; a pass of a rank has 3 of its 6 clips."""
    found: dict[tuple[int, int], set[str]] = {}
    for line in (
        json.loads(line) for log in logs for line in log.read_text().splitlines()
    ):
        found.setdefault(
            (line["epoch"], line["batch"] * len(logs) * 3 // 6), set()
        ).update(line["clips"])
    return found


def test_a_full_disk_stops_with_one_error_and_the_checkpoint_before(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = command.runs / "run"
    flags = [f"--run_folder={run}", "--checkpoint.save_top_k=0"]
    assert main(command("fit", flags)) == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        assert main(command("fit", [*flags, "--trainer.max_epochs=2"])) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.search(
        r"could not write .*last\.ckpt: File too large; the previous file is untouched",
        told,
    )
    assert os.listdir(run / "checkpoints") == ["last.ckpt"]
    assert (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[
            "global_step"
        ]
        == 3
    )
    assert main(command("fit", [*flags, "--trainer.max_epochs=2"])) == 0
    assert (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[
            "global_step"
        ]
        == 6
    )
