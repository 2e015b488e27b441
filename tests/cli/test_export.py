"""Any checkpoint becomes the artifact that the training itself would have left, without its data set."""

import shutil
from pathlib import Path

import pytest

from lightning_petl.__main__ import main
from lightning_petl.artifacts.files import CONFIG, LABELS, WEIGHTS
from tests.commands import Command
from tests.tasks.bank.test_bank_runs import bank

FLAGS = [
    "--trainer.callbacks+=EMA",
    "--trainer.callbacks.decay=0.5",
    "--data.views=2x1",
    "--trainer.max_epochs=2",
]
FILES = (WEIGHTS, LABELS, CONFIG)


def equal(first: Path, second: Path) -> bool:
    return all(
        (first / name).read_bytes() == (second / name).read_bytes()
        for name in FILES
    )


@pytest.fixture
def run(command: Command) -> Path:
    assert (
        main(command("fit", [*FLAGS, f"--run_folder={command.runs / 'mine'}"])) == 0
    )
    shutil.rmtree(command.videos)
    return command.runs / "mine"


def test_the_artifacts_of_a_training_come_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = run / "checkpoints" / "last.ckpt"
    assert (
        main(
            ["export", "--ckpt_path", str(last), "--output", str(tmp_path / "last")]
        )
        == 0
    )
    assert equal(tmp_path / "last", run / "artifact_last")
    assert (
        main(
            ["export", "--run_folder", str(run), "--output", str(tmp_path / "best")]
        )
        == 0
    )
    assert equal(tmp_path / "best", run / "artifact")
    assert (
        f"artifact {tmp_path / 'best'} of {run / 'checkpoints'}/epoch="
        in capsys.readouterr().out
    )
    for flags, told in (
        (
            ["--run_folder", str(run), "--output", str(tmp_path / "best")],
            "best is there already; give a new folder",
        ),
        (
            ["-c", str(run / "config.yaml"), "--untrained=true", "--output=x"],
            "export: no checkpoint is given",
        ),
        (["--run_folder", str(run)], "output"),
    ):
        assert main(["export", *flags]) == 2
        assert told in capsys.readouterr().err.splitlines()[-1]


def test_each_member_of_a_bank_has_one(command: Command, tmp_path: Path) -> None:
    bank(command)
    assert main(command("fit", [f"--run_folder={command.runs / 'mine'}"])) == 0
    last = command.runs / "mine" / "checkpoints" / "last.ckpt"
    assert (
        main(["export", f"--ckpt_path={last}", f"--output={tmp_path / 'x'}"]) == 0
    )
    members = sorted((command.runs / "mine" / "members").iterdir())
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        path.name for path in members
    ]
    assert all(
        equal(tmp_path / "x" / path.name, path / "artifact_last")
        for path in members
    )
