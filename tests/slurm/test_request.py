"""What a submission may ask for, without a cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_petl.cli.submit import parse
from lightning_petl.grids.points import points, split
from lightning_petl.slurm.request import seconds

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("time", "expected"),
    [  # the six forms of sbatch's manual
        ("90", 90 * MINUTE),
        ("90:30", 90 * MINUTE + 30),
        ("24:00:00", DAY),
        ("2-12", 2 * DAY + 12 * HOUR),
        ("2-12:30", 2 * DAY + 12 * HOUR + 30 * MINUTE),
        ("2-12:30:15", 2 * DAY + 12 * HOUR + 30 * MINUTE + 15),
    ],
)
def test_times(time: str, expected: int) -> None:
    assert seconds(time) == expected


def test_points_are_the_product() -> None:
    found = points(
        {
            "model.optim.lr": ["1e-3", "1e-4"],
            "data.sampling.rate": ["2"],
            "seed_everything": ["0", "1"],
        }
    )
    assert [point.folder for point in found] == [
        "lr=1e-3,rate=2,seed=0",
        "lr=1e-3,rate=2,seed=1",
        "lr=1e-4,rate=2,seed=0",
        "lr=1e-4,rate=2,seed=1",
    ]
    assert found[2].flags == (
        "--model.optim.lr=1e-4",
        "--data.sampling.rate=2",
        "--seed_everything=0",
    )


def test_points_without_anything_varied() -> None:
    assert [(point.flags, point.folder) for point in points({})] == [((), "")]


def test_names_of_points_differ_and_are_folders() -> None:
    keys = {
        "a.lr": ["1", "2"],
        "b.lr": ["1"],
        "adapters": ["[LoRA, BitFit]", "../x"],
    }
    folders = [point.folder for point in points(keys)]
    assert len(set(folders)) == 4
    assert folders[0] == "a.lr=1,b.lr=1,adapters=_LoRA,_BitFit_"
    assert not any("/" in folder or " " in folder for folder in folders)


def test_commas_in_brackets_separate_nothing() -> None:
    assert split("1,[2,3],{a: (4,5)},6") == ["1", "[2,3]", "{a: (4,5)}", "6"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--nodes=0"], "nodes must be at least 1, not 0"),
        (["--gpus=-1"], "gpus must be 0"),
        (
            ["--gpus=4", "--tasks_per_node=2"],
            "4 GPUs a node make as many tasks, not 2",
        ),
        (["--time=tomorrow"], "time 'tomorrow' is not"),
        (["--time=1:00", "--notice=60"], "longer than the notice of 60 seconds"),
        (["--time=0"], "longer than the notice"),
        (["--name=interactive"], "choose another one"),
        (["--name=../up"], "names a folder"),
        (["--after=last"], "numbers of jobs"),
        (["--chain=0"], "chain must be at least 1"),
        (["--seeds=1,1"], "must be given and differ"),
        (["--seeds=one"], "seeds must be whole numbers"),
        (["--sweep=lr"], "is not KEY=VALUE,VALUE"),
        (["--sweep=model.optim.lr=1", "--sweep=model.optim.lr=2"], "swept once"),
        (["--sweep=data.path=a/b,a b"], "choose values"),
        (["--node=2"], "--node"),
        (["-c", "nix.yaml"], "there is no file 'nix.yaml'"),
        (["--slurm=nix.yaml"], "nix.yaml"),
        (["--", "--trainer.devices=2"], "submit sets it from gpus"),
        (["--", "--run_folder=x"], "submit sets it from runs and name"),
    ],
)
def test_refusals_name_the_way_out(flags: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        parse(["--time=10", *flags])
    assert told in str(refused.value)


def test_the_time_must_be_given() -> None:
    with pytest.raises(ValueError, match="time"):
        parse(["--nodes=2"])


def test_a_site_gives_defaults_and_the_command_line_wins(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "partition: gpu\naccount: vision\ngpus: 4\ncpus_per_task: 8\nsetup: [module load cuda]\n"
    )
    order = parse(
        [
            f"--slurm={site}",
            "--time=10",
            "--account=audio",
            "--seeds=3",
            "--",
            "--model.optim.lr=1",
        ]
    )
    assert order.request.queue.partition == "gpu"
    assert order.request.queue.account == "audio"
    assert order.request.tasks.per_node == 4
    assert list(order.request.launch.setup) == ["module load cuda"]
    assert order.fit == ["--model.optim.lr=1"]
    assert [point.folder for point in order.points] == ["seed=3"]


def test_a_time_in_yaml_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("time: 24:00:00\n")  # YAML reads 86400
    with pytest.raises(ValueError, match='unless it is quoted: "24:00:00"'):
        parse([f"--slurm={tmp_path / 'site.yaml'}"])


@pytest.mark.parametrize("command", ["submit", "sweep", "status", "cancel", "logs"])
def test_help_without_torch(command: str) -> None:
    code = (
        f"import sys, lightning_petl.__main__ as m; m.main(['{command}', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: lightning-petl {command}" in done.stdout
