"""The doctor says what is wrong, goes on behind a check that fails, and never takes a guess for a measurement."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_petl.__main__ import main
from lightning_petl.doctor import cluster, machine
from lightning_petl.doctor.finding import Finding, guarded
from lightning_petl.doctor.ranks import last_line, of_report


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quick", f"--runs={tmp_path}"]) == 0
    out = told(capsys)
    assert "nothing is wrong" in out
    for check in ("packages", "threads", "file system", "decoding", "ranks"):
        assert check in out
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_a_file_that_is_no_video_and_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    (tmp_path / "file").touch()
    flags = [
        "doctor",
        "--quick",
        f"--video={tmp_path / 'clip.mp4'}",
        f"--runs={tmp_path / 'file'}",
    ]
    assert main(flags) == 1
    out = told(capsys)
    assert "2 of" in out
    assert "FileExistsError" in out


def test_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = cluster.overview(None, 2)
    assert (finding.state, finding.found[:11]) == ("bad", "not on the ")


@pytest.mark.parametrize(
    ("report", "state", "words"),
    [
        ({}, "good", "2 ranks on 2 host(s) (a, b) over gloo"),
        (
            {"ranks": 1, "hosts": ["a"], "seen": [True]},
            "bad",
            "do not find one another",
        ),
        ({"seen": [True, False]}, "bad", "not seen on b: /runs"),
        ({"seconds": 2.0}, "slow", "GLOO_SOCKET_IFNAME"),
    ],
)
def test_what_ranks_report(
    report: dict[str, object], state: str, words: str
) -> None:
    base = {
        "ranks": 2,
        "hosts": ["a", "b"],
        "seen": [True, True],
        "folder": "/runs",
        "backend": "gloo",
        "seconds": 0.01,
    }
    finding = of_report("nodes", f"noise\n{json.dumps(base | report)}\n", 2)
    assert finding.state == state
    assert words in f"{finding.found} {finding.advice}"


@pytest.mark.parametrize(("gpus", "state"), [("8", "bad"), ("2", "good")])
def test_one_task_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpus: str, state: str
) -> None:
    for name, value in (
        ("JOB_ID", "7"),
        ("NTASKS_PER_NODE", "2(x3)"),
        ("GPUS_ON_NODE", gpus),
    ):
        monkeypatch.setenv(f"SLURM_{name}", value)
    (finding,) = cluster.inside_job()
    assert finding.state == state


def test_a_check_that_fails_is_a_finding() -> None:
    def check() -> list[Finding]:
        raise RuntimeError("no\n such   device")

    assert guarded("devices", check) == [
        Finding("devices", "bad", "RuntimeError: no such device")
    ]


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PACKAGES", ("torch", "no-such-package"))
    (finding,) = machine.packages()
    assert finding.state == "bad"
    assert "not installed: no-such-package" in finding.found


def test_the_last_line_says_what_went_wrong() -> None:
    assert last_line("a\nb\n\n") == "b"
    assert last_line("") == "nothing was printed"


def test_help_needs_no_torch() -> None:
    code = "import sys; from lightning_petl.cli import doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_a_preemption_is_survived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", f"--runs={tmp_path}"]) == 0
    assert "the same command goes on from it" in told(capsys)
