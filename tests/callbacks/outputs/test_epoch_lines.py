"""What a training tells on its way: a line an epoch, a point of the curve, where it wrote and what comes next."""

import logging
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import RichProgressBar
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.callbacks.cost.log_interval import interval
from lightning_petl.callbacks.outputs.epoch_lines import _sum_and_number, duration
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import Command

PASSES = [
    "--data.batch_size=2",
    "--model.optim.global_batch=4",
]  # 10 clips: 2 updates of 2 passes, and 1 of the last

TWO_EPOCHS = [*PASSES, "--trainer.max_epochs=2"]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What each training step returns, in order; behind them that of the estimate of memory, which has no value."""
    seen: list[torch.Tensor] = []
    step = VideoClassifier.training_step

    def noted(self: VideoClassifier, *args: Any) -> torch.Tensor:
        loss = step(self, *args)
        seen.append(loss.detach())
        return loss

    monkeypatch.setattr(VideoClassifier, "training_step", noted)
    return seen


def epochs(text: str) -> list[str]:
    """The lines of epochs without what is measured in seconds."""
    lines = [
        line[line.index("epoch ") :]
        for line in text.splitlines()
        if "epoch " in line and "update" in line
    ]
    return [
        " | ".join(
            part
            for part in line.split(" | ")
            if not re.search(r"clips/s| left", part)
        )
        for line in lines
    ]


def scalars(run: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_line_an_epoch_tells_what_was_seen(
    command: Command, losses: list[torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit", TWO_EPOCHS)) == 0
    run = command.runs / "version_0"
    printed = capsys.readouterr().out
    assert "training begins | update 0/6\n" in printed
    first, second = epochs(printed)
    for number, line in enumerate((first, second)):
        mean = float(sum(losses[5 * number : 5 * number + 5])) / 5
        top1 = scalars(run, "val/top1")[number][1]
        assert line.startswith(
            f"epoch {number + 1}/2 | update {3 * number + 3}/6 | train loss {mean:.4g} | val "
        )
        assert f"top1 {top1:.4g}" in line
    assert re.search(r"epoch 1/2 .* \| \d[\d.e+]* clips/s \| \d+ s left\n", printed)
    assert " left" not in next(
        line for line in printed.splitlines() if line.startswith("epoch 2/2")
    )
    written = (run / "epochs.txt").read_text()
    assert epochs(written) == [first, second]
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (epoch|training)", line)
        for line in written.splitlines()
    )


def test_each_validation_within_an_epoch_has_a_line(command: Command) -> None:
    assert (
        main(
            command(
                "fit", ["--data.batch_size=2", "--trainer.val_check_interval=2"]
            )
        )
        == 0
    )
    lines = epochs((command.runs / "version_0" / "epochs.txt").read_text())
    assert [line.split(" | ")[1] for line in lines] == [
        "update 2/5",
        "update 4/5",
        "update 5/5",
    ]


def test_an_epoch_without_validation_tells_no_old_one(command: Command) -> None:
    assert (
        main(
            command(
                "fit",
                ["--trainer.max_epochs=3", "--trainer.check_val_every_n_epoch=2"],
            )
        )
        == 0
    )
    lines = epochs((command.runs / "version_0" / "epochs.txt").read_text())
    assert [" | val " in line for line in lines] == [False, True, False]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, str]:
    """Its lines of epochs, if nobody stops it."""
    command = Command(tmp_path_factory.mktemp("whole"))
    assert main(command("fit", TWO_EPOCHS)) == 0
    return command, (command.runs / "version_0" / "epochs.txt").read_text()


@pytest.mark.parametrize("number", [1, 3, 6])
def test_after_an_interruption_the_lines_go_on(
    number: int,
    whole: tuple[Command, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, expected = whole
    step, calls = VideoClassifier.training_step, iter(range(100))

    def interrupted(self: VideoClassifier, *args: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, *args)

    monkeypatch.setattr(VideoClassifier, "training_step", interrupted)
    run = tmp_path / "run"
    capsys.readouterr()
    assert main(command("fit", [*TWO_EPOCHS, f"--run_folder={run}"])) == 75
    monkeypatch.undo()
    (told,) = commands(capsys.readouterr().out)
    assert main([*told, *command.trainer[1:2]]) == 0
    assert re.search(
        r"^training goes on \| update \d/6$",
        capsys.readouterr().out,
        flags=re.MULTILINE,
    )
    assert epochs((run / "epochs.txt").read_text()) == epochs(expected)


def commands(text: str) -> list[list[str]]:
    """The commands of this program that are printed."""
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.startswith("  lightning-petl ")
    ]
    return [shlex.split(line)[1:] for line in lines]


def test_the_closing_paragraph_leads_to_files_and_commands_that_work(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(command.runs.parent)
    folder = "-it's a run"
    assert (
        main(command("fit", [f"--run_folder={folder}", "--trainer.max_epochs=2"]))
        == 0
    )
    printed = capsys.readouterr().out
    paragraph = printed[printed.index("finished after update") :]
    assert paragraph.startswith(
        f"finished after update 6; everything is in {folder}\n"
    )
    found = re.findall(
        r"^  (best|last|artifact): +(.*?)(?: \((?:val/top1 )?(.*)\))?$",
        paragraph,
        flags=re.MULTILINE,
    )
    assert {name for name, _, _ in found} == {"best", "last", "artifact"}
    assert all(Path(path).exists() for _, path, _ in found)
    artifacts = [
        (Path(path).name, what) for name, path, what in found if name == "artifact"
    ]
    assert artifacts == [
        ("artifact", "of the best checkpoint"),
        ("artifact_last", "of the last step"),
    ]
    (score,) = [score for name, _, score in found if name == "best"]
    assert (
        score
        == f"{max(value for _, value in scalars(Path(folder), 'val/top1')):.4g}"
    )
    assert """  tensorboard --logdir './-it'"'"'s a run'""" in paragraph
    for argv in commands(paragraph):
        values = {
            "VIDEO": str(command.videos / "val" / "left" / "0.mp4"),
            "MORE": "3",
        }
        assert main([values.get(word, word) for word in argv]) == 0, argv
    assert "training goes on | update 6/9" in capsys.readouterr().out


def test_ctrl_c_tells_how_to_go_on(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    step, calls = VideoClassifier.training_step, iter(range(100))

    def interrupted(self: VideoClassifier, *args: Any) -> Any:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(VideoClassifier, "training_step", interrupted)
    assert main(command("fit", ["--trainer.max_epochs=2"])) == 130
    (told,) = commands(capsys.readouterr().out)
    assert told[:1] == ["fit"]
    assert str(command.runs / "version_0") in told


def test_a_short_training_has_a_curve(
    command: Command, losses: list[torch.Tensor]
) -> None:
    assert main(command("fit", ["--trainer.max_epochs=2"])) == 0
    found = scalars(command.runs / "version_0", "train/loss")
    assert [step for step, _ in found] == [0, 1, 2, 3, 4, 5]
    assert [value for _, value in found] == pytest.approx(
        torch.stack(losses[:6]).tolist()
    )


def test_an_interval_of_the_users_own_is_kept(command: Command) -> None:
    assert (
        main(
            command(
                "fit", ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=3"]
            )
        )
        == 0
    )
    assert [
        step for step, _ in scalars(command.runs / "version_0", "train/loss")
    ] == [
        2,
        5,
    ]


@pytest.mark.parametrize(
    ("updates", "steps"),
    [
        (1, 1),
        (49, 1),
        (100, 1),
        (199, 1),
        (200, 2),
        (1234, 12),
        (4999, 49),
        (5000, 50),
        (10**6, 50),
        (math.inf, 50),
    ],
)
def test_a_curve_has_a_hundred_points_or_more_but_seldom_one_each_update(
    updates: int | float, steps: int
) -> None:
    assert interval(updates) == steps
    assert updates < 100 or updates / steps >= 100


def test_losses_that_are_no_numbers_do_not_count() -> None:
    nan, inf = math.nan, math.inf
    assert _sum_and_number({"loss": torch.tensor(1.5)}, 2).tolist() == [3.0, 1.0]
    assert _sum_and_number(torch.tensor(nan), 1).tolist() == [0.0, 0.0]
    member_losses = {
        "loss": torch.tensor(nan),
        "losses": torch.tensor([1.0, nan, 2.5, inf]),
    }
    assert _sum_and_number(member_losses, 4).tolist() == [3.5, 2.0]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59, "59 s"),
        (61, "1 min"),
        (3569, "59 min"),
        (4000, "1 h 07 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_a_duration_in_words(seconds: int | float, words: str) -> None:
    assert duration(seconds) == words


@pytest.fixture
def spoken() -> Iterator[list[str]]:
    """What Lightning's logger lets through."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_no_other_product_is_advertised(
    command: Command, spoken: list[str]
) -> None:
    assert main(command("fit")) == 0
    assert any("GPU available" in line for line in spoken)
    assert not any("litlogger" in line or "litmodels" in line for line in spoken)


@pytest.mark.parametrize(
    ("terminal", "flags", "bar"),
    [(True, [], 1), (False, [], 0), (False, ["true"], 1)],
)
def test_a_bar_is_for_terminals_alone(
    terminal: bool,
    flags: list[str],
    bar: int,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(
        RichProgressBar, "on_train_start", lambda self, *_: begun.append(self)
    )
    monkeypatch.setattr(RichProgressBar, "_update", lambda *_, **__: None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    argv = [word for word in command("fit") if "enable_progress_bar" not in word]
    assert (
        main([*argv, *(f"--trainer.enable_progress_bar={flag}" for flag in flags)])
        == 0
    )
    assert len(begun) == bar
