"""Processes side by side: what they are given, what becomes of them, and how they are stopped."""

import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lightning_petl.sweep.calls import CallRunner, CommandCall
from lightning_petl.sweep.devices import environments, visible_gpus
from lightning_petl.sweep.screen import SweepScreen
from lightning_petl.sweep.status import CallStatus, StatusFile
from lightning_petl.sweep.stopping import SweepStop, sweep_stop

Pair = tuple[CommandCall, CallStatus]

# It saves when it is told to, as a training does, and ends with 75.
TRAINS = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print("trains", flush=True)
time.sleep(60)
"""


def call(folder: Path, name: str, code: str) -> Pair:
    made = CommandCall(
        name=name, program=[sys.executable, "-c", code], log=folder / f"{name}.txt"
    )
    return made, CallStatus()


def run(
    pairs: Sequence[Pair],
    slots: Sequence[Mapping[str, str]] = ({},),
    stop: SweepStop | None = None,
) -> list[str]:
    """Run calls; the states in the order in which they changed."""
    told: list[str] = []
    runner = CallRunner(
        slots,
        dict(os.environ),
        stop or SweepStop(),
        lambda made, status: told.append(f"{made.name} {status.state}"),
        lambda: None,
    )
    runner.run(pairs)
    return told


def test_a_failing_call_is_told_by_its_last_line_and_stops_no_other(
    tmp_path: Path,
) -> None:
    bad = "import sys; print('warning'); sys.exit('lightning-petl: lr is wrong')"
    pairs = [call(tmp_path, "bad", bad), call(tmp_path, "good", "print('fine')")]
    assert run(pairs) == ["bad running", "bad failed", "good running", "good done"]
    status = pairs[0][1]
    assert (status.why, status.failures) == ("lr is wrong", 1)
    assert (tmp_path / "good.txt").read_text() == "fine\n"


def test_a_killed_call_says_by_what(tmp_path: Path) -> None:
    pair = call(
        tmp_path,
        "a",
        "import os; print('step 7', flush=True); os.kill(os.getpid(), 9)",
    )
    run([pair])
    assert pair[1].why == "ended by SIGKILL, after: step 7"


def test_as_many_run_side_by_side_as_there_are_slots(tmp_path: Path) -> None:
    """Each waits until the other one is there; one after another they would wait for ever."""
    code = """
import os, pathlib, time
here = pathlib.Path({folder!r})
(here / ("is_" + os.environ["SLOT"])).touch()
end = time.time() + 30
while len(list(here.glob("is_*"))) < 2:
    assert time.time() < end
    time.sleep(0.01)
"""
    text = code.format(folder=str(tmp_path))
    pairs = [call(tmp_path, name, text) for name in ("a", "b")]
    told = run(pairs, [{"SLOT": "0"}, {"SLOT": "1"}])
    assert told[:2] == ["a running", "b running"]
    assert {status.state for _, status in pairs} == {"done"}


def test_code_75_without_a_request_goes_on_in_the_same_process_slot(
    tmp_path: Path,
) -> None:
    flag = tmp_path / "flag"
    code = f"""
import pathlib, sys
flag = pathlib.Path({str(flag)!r})
first = not flag.exists()
flag.touch()
sys.exit(75 if first else 0)
"""
    pair = call(tmp_path, "a", code)
    assert run([pair]) == ["a running", "a done"]


def test_code_75_for_ever_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_petl.sweep.calls._MOST_RESTARTS", 2)
    pair = call(tmp_path, "a", "print('x'); import sys; sys.exit(75)")
    run([pair])
    assert pair[1].state == "failed"
    assert (tmp_path / "a.txt").read_text() == "x\n" * 3


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT], ids=str
)
def test_a_signal_reaches_what_runs_and_nothing_more_is_started(
    number: signal.Signals, tmp_path: Path
) -> None:
    pairs = [call(tmp_path, name, TRAINS) for name in ("a", "b", "c")]
    with sweep_stop() as stop:
        threading.Thread(target=_send, args=(tmp_path, number)).start()
        told = run(pairs, [{}, {}], stop)
    assert sorted(told[2:]) == ["a interrupted", "b interrupted"]
    assert pairs[2][1].state == "waiting"
    for name in ("a", "b"):
        assert (tmp_path / f"{name}.txt").read_text() == "trains\nsaved\n"
    assert not stop.at_once


def test_the_second_ctrl_c_kills(tmp_path: Path) -> None:
    deaf = TRAINS.replace("sys.exit(75)", "pass")
    pair = call(tmp_path, "a", deaf)
    with sweep_stop() as stop:
        threading.Thread(
            target=_send, args=(tmp_path, signal.SIGINT, "saved")
        ).start()
        run([pair], stop=stop)
    assert stop.at_once
    assert pair[1].state == "interrupted"


def _send(folder: Path, number: signal.Signals, and_behind: str = "") -> None:
    """Signal this process once all that was started trains, and again once they have printed a word."""
    _wait(folder, "trains", 2 if not and_behind else 1)
    os.kill(os.getpid(), number)
    if and_behind:
        _wait(folder, and_behind, 1)
        os.kill(os.getpid(), number)


def _wait(folder: Path, word: str, files: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        texts = [file.read_text() for file in folder.glob("*.txt")]
        if sum(word in text for text in texts) == files:
            return
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("jobs", "gpus", "given", "expected"),
    [
        (1, "01", {}, [{}]),
        (2, "", {}, [{"OMP_NUM_THREADS": "4"}] * 2),
        (2, "", {"OMP_NUM_THREADS": "1"}, [{}, {}]),
        (3, "0", {}, [{"OMP_NUM_THREADS": "2"}] * 3),
    ],
)
def test_processors_are_shared_out(
    jobs: int, gpus: str, given: dict[str, str], expected: list[dict[str, str]]
) -> None:
    found = environments(jobs, processors=8, gpus=list(gpus), given=given)
    assert found == expected


@pytest.mark.parametrize(
    ("jobs", "gpus", "expected"),
    [
        (2, "012", ["0", "1"]),
        (2, "4567", ["4,5", "6,7"]),
        (4, "01", ["0", "1", "0", "1"]),
        (3, "01", ["0", "1", "0"]),
    ],
)
def test_each_member_has_gpus_of_its_own(
    jobs: int, gpus: str, expected: list[str]
) -> None:
    found = environments(jobs, processors=1, gpus=list(gpus), given={})
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in found] == expected


def test_gpus_are_those_that_this_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-ab"}) == ["2", "GPU-ab"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\nprintf 'GPU 0: H200 (UUID: x)\\n  MIG 1g Device 0: y\\nGPU 1: H200\\n'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == ["0", "1"]
    program.unlink()
    assert visible_gpus({}) == []


def test_what_ran_when_the_sweep_was_killed_is_interrupted(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status.json")
    file.of("fit", "a").state = "running"
    file.of("test", "a").failures = 3
    file.save()
    again = StatusFile(tmp_path / "status.json")
    assert again.of("fit", "a").state == "interrupted"
    assert again.of("test", "a").given_up
    (tmp_path / "status.json").write_text('{"fit": {"a": {"what": 1}}}')
    with pytest.raises(ValueError, match="not what a sweep writes"):
        StatusFile(tmp_path / "status.json")


def test_a_terminal_shows_all_members_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=500)
    monkeypatch.setattr("lightning_petl.sweep.screen.Console", lambda: console)
    pairs = [call(tmp_path, name, "") for name in ("lr=1", "lr=2", "lr=3")]
    (tmp_path / "epochs.txt").write_text("epoch 1/3\nepoch 2/3 | 5 min left\n")
    pairs[0] = (
        replace(pairs[0][0], progress=tmp_path / "epochs.txt"),
        CallStatus("running"),
    )
    pairs[1][1].state = "failed"
    pairs[1][1].why = "disk [is] full"
    with SweepScreen("fit", pairs, lambda name: f"val/top1 of {name}") as screen:
        pairs[2][1].state = "done"
        pairs[2][1].seconds = 75.0
        screen.changed(*pairs[2])
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue())
    last = shown.splitlines()[-4:]
    assert [line.split()[0] for line in last] == ["member", "lr=1", "lr=2", "lr=3"]
    assert "epoch 2/3 | 5 min left" in last[1]
    assert "failed: disk [is] full" in last[2]
    assert "done, val/top1 of lr=3, 1 min" in last[3]


def test_signals_of_a_scheduler_one_after_the_other_kill_nothing() -> None:
    stop = SweepStop()
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
        stop(number, None)
    assert (stop.wanted, stop.at_once) == (True, False)
    stop(signal.SIGINT, None)
    assert stop.at_once
