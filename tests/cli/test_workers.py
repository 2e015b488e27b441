"""A loader's worker that is killed or hangs ends the run with the name of the file; the same command goes on."""

import re
import signal
import warnings
from pathlib import Path

import pytest

from data_modules.storage import manifest
from lightning_petl.__main__ import main
from tests.commands import Command

pytestmark = pytest.mark.slow  # torch looks after its workers every five seconds


def failing(
    command: Command, flag: Path, kill: int, deadline: int = 3
) -> list[str]:
    crop = [
        "--data.train_transform=tests.failing.FailingCrop",
        f"--data.train_transform.flag={flag}",
    ]
    workers = [
        "--data.num_workers=2",
        f"--data.train_transform.kill={kill}",
        f"--data.files.deadline={deadline}",
    ]
    return [*command("fit"), *crop, *workers, "--checkpoint.every_n_train_steps=1", "--checkpoint.monitor=null",
            "--trainer.max_epochs=2", "--trainer.limit_val_batches=0"]  # fmt: skip


def test_a_killed_worker_is_told_with_the_file_it_read(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flag").touch()
    argv = failing(command, tmp_path / "flag", signal.SIGKILL, deadline=60)
    argv += [f"--run_folder={tmp_path / 'run'}"]
    assert main(argv) == 75
    told = capsys.readouterr().err
    assert re.search(
        r"DataLoader worker \(pid.* It was reading \S+/train/(left|right)/\d\.mp4\.",
        told,
    )
    assert told.splitlines()[-1].endswith(
        "where memory is out, take fewer data.num_workers"
    )
    assert (
        manifest.read(command.videos / "manifest.csv") == {}
    )  # a kill says nothing about the file
    assert main(argv) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_a_worker_that_hangs_ends_the_run_and_the_next_one_skips_the_file(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flag").touch()
    assert main(failing(command, tmp_path / "flag", 0)) == 75
    told = capfd.readouterr().err.splitlines()[-1]
    name = re.search(
        r"It was reading (\S+/train/(?:left|right)/\d\.mp4)\. It gave no answer in files.deadline=3 s",
        told,
    )
    assert name, told
    (entry,) = manifest.read(command.videos / "manifest.csv").values()
    assert (entry.status, command.videos / entry.path) == ("hung", Path(name[1]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (
            main(
                [*failing(command, tmp_path / "flag", 0), "--bad_files.budget=0.5"]
            )
            == 0
        )
    messages = [str(warning.message) for warning in caught]
    reason = f"{name[1]}: hung: no answer in 3 s while training"
    assert any(
        message.startswith("1 video(s) of the train split are known to be bad")
        for message in messages
    )
    assert f"{reason}; another clip stands in" in messages
    assert len(list(command.runs.glob("version_1/checkpoints/last.ckpt"))) == 1
