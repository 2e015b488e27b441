"""The generated script, read back as sbatch and bash read it."""

import io
import json
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from lightning_petl.__main__ import main
from lightning_petl.cli import check_submission
from lightning_petl.slurm import submit
from lightning_petl.slurm.request import Launch, Limits, Queue, Request, Tasks
from lightning_petl.slurm.script import script
from lightning_petl.slurm.submit import _with_processors
from tests.commands import Command
from tests.test_readme import ROOT, commands

FOLDER = Path("/home/a user/runs/50%/x")


def directives(text: str) -> dict[str, str]:
    """The options of sbatch, up to the first command, as its manual says."""
    head = text[: text.index("\nexport")]
    words = [
        word
        for line in head.splitlines()
        if line.startswith("#SBATCH ")
        for word in shlex.split(line[8:])
    ]
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def request(**changed: object) -> Request:
    parts = {
        "tasks": Tasks(nodes=2, gpus=8, cpus_per_task=6),
        "limits": Limits(time="1-0", notice=90),
    }
    return Request(name="study", **(parts | changed))  # pyright: ignore[reportArgumentType]


def test_directives() -> None:
    queue = Queue(
        partition="gpu",
        account="vision",
        qos="long",
        constraint="a|b",
        sbatch=["--exclusive"],
    )
    options = directives(
        script(request(queue=queue), FOLDER, array=3, after="afterok:17")
    )
    assert options == {
        "--job-name": "study",
        "--nodes": "2",
        "--ntasks-per-node": "8",
        "--gres": "gpu:8",
        "--cpus-per-task": "6",
        "--time": "1-0",
        "--partition": "gpu",
        "--account": "vision",
        "--qos": "long",
        "--constraint": "a|b",
        "--signal": "USR1@90",
        "--requeue": "",
        "--open-mode": "append",
        "--output": "/home/a user/runs/50%%/x/%a/log.txt",
        "--array": "0-2",
        "--dependency": "afterok:17",
        "--kill-on-invalid-dep": "yes",
        "--exclusive": "",
    }


def test_a_job_without_gpus_asks_for_none() -> None:
    options = directives(
        script(
            request(tasks=Tasks(tasks_per_node=2, cpus_per_task=1)), FOLDER, array=0
        )
    )
    assert options["--ntasks-per-node"] == "2"
    assert not {"--gres", "--array", "--dependency"} & options.keys()
    assert options["--output"] == "/home/a user/runs/50%%/x/log.txt"


@pytest.mark.parametrize("array", [0, 2])
def test_it_is_bash_and_ends_with_the_code_of_the_step(array: int) -> None:
    launch = Launch(
        setup=["module load cuda"],
        srun=["--container-image=a b"],
        container="apptainer exec --nv 'x y'",
    )
    text = script(request(launch=launch), FOLDER, array=array)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert text.splitlines()[-1] == "exit $rc"
    assert text.index("module load cuda") < text.index("\nsrun ")
    step = text[text.index("\nsrun ") : text.index("\nrc=$?")]
    words = shlex.split(step)
    assert words[: words.index("bash")] == [
        "srun",
        "--cpus-per-task=6",
        "--wait=300",
        "--container-image=a b",
    ]
    command = words[words.index("task") + 1 :]
    assert command[:4] == ["apptainer", "exec", "--nv", "x y"]
    assert command[-3:] == ["fit", "-c", "$run/submitted.yaml"]
    assert (
        "exec " in words[words.index("-c") + 1].splitlines()[-1]
    )  # signals must reach Python itself


OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0"


@pytest.mark.parametrize(
    ("code", "log", "state", "nodes", "again"),
    [
        (75, "", "RUNNING", "mixed mixed", True),
        (75, OOM, "RUNNING", "mixed mixed", False),
        (137, "", "RUNNING", "mixed mixed", True),
        (137, OOM, "RUNNING", "mixed mixed", False),
        (143, "", "RUNNING", "mixed mixed", True),
        (143, "", "CANCELLED", "mixed mixed", False),
        (75, "", "CANCELLED", "mixed mixed", False),
        (2, "", "RUNNING", "mixed mixed", False),
        (1, "", "RUNNING", "mixed mixed", False),
        (1, "", "RUNNING", "mixed mixed*", True),
        (1, "", "RUNNING", "down mixed", True),
        (1, "", "CANCELLED", "mixed mixed*", False),
        (2, "", "RUNNING", "mixed mixed*", False),
        (0, "", "RUNNING", "mixed mixed*", False),
    ],
)
def test_what_goes_back_into_the_queue(
    code: int, log: str, state: str, nodes: str, again: bool, tmp_path: Path
) -> None:
    told = started(
        tmp_path,
        f"srun() {{ echo '{log}'; return {code}; }}",
        state=state,
        nodes=nodes,
        code=code,
    )
    assert told.count("requeue 7") == again


def test_memory_that_ran_out_in_an_earlier_start_keeps_no_job_out_of_the_queue(
    tmp_path: Path,
) -> None:
    first = started(tmp_path, f"srun() {{ echo '{OOM}'; return 137; }}", code=137)
    assert "requeue" not in first
    told = started(
        tmp_path, "SLURM_RESTART_COUNT=1; srun() { return 137; }", code=137
    )
    assert re.findall(
        r"^start (\d+) of job 7 on n1,n2, \d{4}-", told, re.MULTILINE
    ) == ["1", "2"]
    assert told.endswith("requeue 7\n")


def started(
    folder: Path,
    srun: str,
    *,
    code: int,
    state: str = "RUNNING",
    nodes: str = "mixed mixed",
) -> str:
    """The log of a job whose script ran with these answers of SLURM."""
    slurm = (
        f"squeue() {{ echo {state}; }}; scontrol() {{ echo $1 $2; }}; sinfo() {{ printf '%s\\n' {nodes}; }}\n"
        f"SLURM_JOB_ID=7; SLURM_JOB_NODELIST=n1,n2; {srun}\n"
    )
    with (folder / "log.txt").open("a") as log:
        done = subprocess.run(
            ["bash", "-c", slurm + script(request(), folder, array=0)],
            stdout=log,
            stderr=log,
        )
    assert done.returncode == code
    return (folder / "log.txt").read_text()


def test_no_requeue() -> None:
    text = script(request(limits=Limits(time="10", requeue=False)), FOLDER, array=0)
    assert "--no-requeue" in directives(text)
    assert "scontrol requeue" not in text


def test_every_step_of_a_job_has_a_port_of_its_own() -> None:
    text = script(request(), FOLDER, array=0)
    (formula,) = re.findall(r"MASTER_PORT=(\$\(\(.*\)\))", text)
    lines = "".join(
        f"SLURM_JOB_ID={job} SLURM_STEP_ID={step}; echo {formula}\n"
        for job in (1, 2, 21999, 22000)
        for step in range(4)
    )
    done = subprocess.run(
        ["bash"], input=lines, capture_output=True, text=True, check=True
    )
    ports = [int(port) for port in done.stdout.split()]
    assert len(set(ports)) == len(ports) == 16
    assert min(ports) > 1023
    assert max(ports) < 32768  # Linux hands out ports from there on


def test_no_two_submissions_have_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(
            pool.map(lambda _: submit._claimed(tmp_path / "name"), range(32))
        )
    assert len(set(folders)) == 32
    assert all(folder.is_dir() for folder in folders)


def test_a_dry_run_prints_the_script_and_writes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = Command(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    before = sorted(tmp_path.rglob("*"))
    argv = [
        "submit",
        "-c",
        str(command.config),
        "--time=10",
        "--nodes=2",
        "--name=dry",
        "--dry-run",
    ]
    assert (
        main(
            [*argv, "--sweep=model.optim.lr=0.1,0.2", "--", "--data.num_workers=3"]
        )
        == 0
    )
    options = directives(capsys.readouterr().out)
    assert options["--cpus-per-task"] == "4"  # the process and its workers
    assert options["--array"] == "0-1"
    assert options["--output"].startswith(f"{tmp_path}/runs/dry/")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_configuration_that_fit_refuses_is_not_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "submit",
        "-c",
        str(Command(tmp_path).config),
        "--time=10",
        "--dry-run",
        "--nodes=2",
    ]
    assert main([*argv, "--", "--model.optim.global_batch=9"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "lightning-petl: global_batch 9 is not a multiple of 6 clips per pass"
    )
    assert len(told.splitlines()) == 1


def read_here(lines: str) -> subprocess.CompletedProcess[str]:
    """Read configurations as the process of a submission does, in this one."""
    output = io.StringIO()
    error = io.StringIO()
    with (
        patch("sys.stdin", io.StringIO(lines)),
        redirect_stdout(output),
        redirect_stderr(error),
    ):
        code = check_submission.main()
    return subprocess.CompletedProcess(
        [], code, output.getvalue(), error.getvalue()
    )


def test_seeds_that_the_data_would_not_follow_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # two processes would import for longer than all else takes
    monkeypatch.setattr(
        "lightning_petl.cli.read_configurations.subprocess.run",
        lambda argv, *, input, **_: read_here(input),
    )
    argv = [
        "submit",
        "-c",
        str(Command(tmp_path).config),
        "--time=10",
        "--dry-run",
        "--seeds=1,2",
    ]
    assert main([*argv, "--", "--data.seed=0"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "lightning-petl: seeds: each run's data follow its seed, but the configuration gives data.se"
    )
    assert len(told.splitlines()) == 1
    assert main([*argv, "--", "--data.seed=0", "--data.seed=null"]) == 0


def test_every_configuration_is_read_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = yaml.safe_load(Command(tmp_path).config.read_text())
    good = [
        f"--model={json.dumps(config['model'])}",
        "--data=VideoFolder",
        "--data.sampling=SegmentSampling",
    ]
    wrong = {
        "root": good,
        "num_framez": [*good, "--data.root=x", "--data.sampling.num_framez=2"],
    }
    for (
        told,
        line,
    ) in wrong.items():  # a required value that is missing is told as well, unlike with --print_config
        monkeypatch.setattr(
            "sys.stdin", io.StringIO(json.dumps([[*good, "--data.root=x"], line]))
        )
        assert check_submission.main() == 2
        output, error = capsys.readouterr()
        assert output == ""
        assert told in error


@pytest.mark.parametrize(
    ("tasks", "accelerator", "told"),
    [
        (Tasks(gpus=1), "cpu", "1 GPUs a node, but"),
        (Tasks(), "gpu", "gpus is 0, but"),
        (Tasks(), "cuda", "gpus is 0"),
    ],
)
def test_gpus_are_for_what_trains_on_them(
    tasks: Tasks, accelerator: str, told: str
) -> None:
    config = {
        "trainer": {"accelerator": accelerator},
        "data": {"init_args": {"num_workers": 2}},
    }
    with pytest.raises(ValueError, match=told):
        _with_processors(request(tasks=tasks), [config])


def test_without_slurm_the_way_out_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["submit", "--time=10"]) == 2
    assert (
        "is not on the PATH: this command runs where SLURM's clients are"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_submissions_of_the_page_are_accepted() -> None:
    calls = [
        argv
        for argv in commands("make", [ROOT / "docs/slurm.md"])
        if argv[0] == "submit"
    ]
    assert len(calls) == 3
    for argv in calls:
        make = [
            "make",
            "-o",
            ".venv/installed",
            f"BIN={Path(sys.executable).parent}",
            "DRY_RUN=1",
            *argv,
        ]
        done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        name = next(
            word.removeprefix("NAME=") for word in argv if word.startswith("NAME=")
        )
        assert directives(done.stdout)["--job-name"] == name
