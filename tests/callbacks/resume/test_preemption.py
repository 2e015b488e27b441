"""A signal ends a command with 75 where nothing is lost, and the same command goes on bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.callbacks.resume.preemption import _require_same
from lightning_petl.runs.logger import RunLogger
from lightning_petl.runs.signals import StopRequest, current_request
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import Command
from tests.tasks.test_resume import same

# 10 clips in batches of 2: epochs of 5 passes, 3 updates; validation of 6 clips in 3 batches
FLAGS = [
    "--trainer.max_epochs=2", "--trainer.accumulate_grad_batches=2", "--model.head.dropout=0.5", "--data.batch_size=2",
    "--trainer.log_every_n_steps=1", "--trainer.callbacks+=EMA", "--checkpoint.save_top_k=2",
]  # fmt: skip
Signals = Callable[[str, int, signal.Signals], None]


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Signals:
    """Raises a signal in the n-th call of a step of the model, from 0."""

    def at(name: str, number: int, which: signal.Signals) -> None:
        step, calls = getattr(VideoClassifier, name), iter(range(1000))

        def raising(self: VideoClassifier, *args: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), which)
            return step(self, *args)

        monkeypatch.setattr(VideoClassifier, name, raising)

    return at


def last(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def scalars(
    run: Path, *, costs: bool = False
) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run))
    events.Reload()
    tags = [
        tag
        for tag in events.Tags()["scalars"]
        if costs or not tag.startswith("z_cost/")
    ]
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in tags
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Command:
    command = Command(tmp_path_factory.mktemp("undisturbed"))
    assert (
        main(command("fit", [*FLAGS, f"--run_folder={command.runs / 'run'}"])) == 0
    )
    return command


@pytest.mark.parametrize(
    ("step", "number", "which", "reached"),
    [
        (
            "training_step",
            1,
            signal.SIGUSR1,
            1,
        ),  # the second pass of the first update
        (
            "training_step",
            2,
            signal.SIGTERM,
            2,
        ),  # the first pass of the second: it is made whole
        (
            "training_step",
            4,
            signal.SIGUSR1,
            3,
        ),  # at the end of the epoch: it is validated at the next start
        (
            "validation_step",
            3,
            signal.SIGUSR1,
            3,
        ),  # in the first batch of it; two were for the sanity check
        ("validation_step", 4, signal.SIGTERM, 3),  # in its last
        ("training_step", 6, signal.SIGUSR1, 4),  # in the second epoch
    ],
)
def test_the_same_command_goes_on_bit_for_bit(
    step: str,
    number: int,
    which: signal.Signals,
    reached: int,
    undisturbed: Command,
    signals: Signals,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    command = undisturbed("fit", [*FLAGS, f"--run_folder={run}"])
    signals(step, number, which)
    assert main(command) == 75
    assert last(run)["global_step"] == reached
    monkeypatch.undo()
    torch.manual_seed(
        99
    )  # a new process would not hold the old one's random state either
    assert main(command) == 0
    expected, actual = last(undisturbed.runs / "run"), last(run)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(actual[part], expected[part]), part
    assert same(actual["callbacks"]["EMA"], expected["callbacks"]["EMA"])
    assert scalars(run) == scalars(undisturbed.runs / "run")
    files = [
        sorted(os.listdir(folder / "checkpoints"))
        for folder in (run, undisturbed.runs / "run")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 3  # the last and the two best


def test_what_trains_no_further_changes_no_event(
    undisturbed: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command on a finished run, and one that is refused."""
    run = undisturbed.runs / "run"
    before = scalars(run, costs=True)
    config = (run / "config.yaml").read_text()
    assert any(tag.startswith("z_cost/") for tag in before)
    assert main(undisturbed("fit", [*FLAGS, f"--run_folder={run}"])) == 0
    assert scalars(run, costs=True) == before
    assert (
        main(
            undisturbed(
                "fit", [*FLAGS, f"--run_folder={run}", "--data.batch_size=3"]
            )
        )
        == 2
    )
    assert "an update was 4 clips" in capsys.readouterr().err
    assert scalars(run, costs=True) == before
    assert (run / "config.yaml").read_text() == config
    assert json.loads((run / "run.json").read_text())["starts"] == []


@pytest.mark.parametrize("name", ["sanity check", "validate", "test", "predict"])
def test_what_trains_nothing_stops_at_the_next_batch(
    name: str,
    undisturbed: Command,
    signals: Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = {"test": "test_step", "predict": "predict_step"}.get(
        name, "validation_step"
    )
    verb = "fit" if name == "sanity check" else name
    flags = ["--data.batch_size=1", f"--trainer.default_root_dir={tmp_path}"]
    flags += [f"--data.predict_path={undisturbed.videos}", "--untrained=true"]
    signals(step, 0, signal.SIGUSR1)
    calls: list[int] = []
    counted = getattr(VideoClassifier, step)
    monkeypatch.setattr(
        VideoClassifier,
        step,
        lambda self, *args: (calls.append(1), counted(self, *args))[1],
    )
    assert main(undisturbed(verb, flags)) == 75
    assert len(calls) == 1
    assert not list(tmp_path.rglob("*.ckpt"))


def test_last_is_the_last_though_another_was_better(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(VideoClassifier, "on_validation_epoch_end",
                        lambda self: self.trainer.sanity_checking or self.log("score", next(scores)))  # fmt: skip
    flags = [
        "--trainer.max_epochs=3",
        "--checkpoint.monitor=score",
        "--checkpoint.mode=max",
    ]
    assert main(command("fit", flags)) == 0
    best = [
        path.name
        for path in (command.runs / "version_0" / "checkpoints").glob("epoch*")
    ]
    assert best == ["epoch=0-step=3.ckpt"]
    assert last(command.runs / "version_0")["global_step"] == 9


@pytest.mark.parametrize(
    "how", ["spelt differently", "moved", "with loggers and checkpoints of its own"]
)
def test_the_best_are_known_wherever_the_folder_is(
    how: str, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scores = iter([0.9, 0.5, 0.8])
    monkeypatch.setattr(VideoClassifier, "on_validation_epoch_end",
                        lambda self: self.trainer.sanity_checking or self.log("score", next(scores)))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    flags = ["--checkpoint.monitor=score", "--checkpoint.mode=max"]
    if how.startswith("with"):
        flags += [
            "--trainer.logger={class_path: CSVLogger, init_args: {save_dir: other, version: 0}}"
        ]
        flags += [
            '--trainer.callbacks+={"class_path": "ModelCheckpoint", "init_args": {"dirpath": "other"}}'
        ]
    assert main(command("fit", [*flags, "--run_folder=mine"])) == 0
    if how == "moved":
        shutil.move("mine", "yours")
    place = {"spelt differently": str(tmp_path / "mine"), "moved": "yours"}.get(
        how, "mine"
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the other logger and the other checkpoints find what they wrote
        assert (
            main(
                command(
                    "fit",
                    [*flags, f"--run_folder={place}", "--trainer.max_epochs=3"],
                )
            )
            == 0
        )
    assert sorted(os.listdir(Path(place, "checkpoints"))) == [
        "epoch=0-step=3.ckpt",
        "last.ckpt",
    ]
    assert last(Path(place))["global_step"] == 9
    assert [step for step, _ in scalars(Path(place))["score"]] == [
        2,
        5,
        8,
    ]  # Lightning counts them from 0


def test_ranks_that_see_other_checkpoints_end_together(tmp_path: Path) -> None:
    trainer = Trainer(
        logger=RunLogger(tmp_path), accelerator="cpu", enable_checkpointing=False
    )
    trainer.strategy.broadcast = lambda obj, src=0: 5  # pyright: ignore[reportAttributeAccessIssue]
    _require_same(trainer, 5)
    with pytest.raises(
        ValueError, match=f"{tmp_path} holds other checkpoints on this rank"
    ):
        _require_same(trainer, -1)


def test_handlers_are_given_back_and_only_the_own_process_takes_note() -> None:
    request = StopRequest()
    request._pid = -1  # as in a process that was forked
    request(signal.SIGUSR1, None)
    assert request.received is None
    before = signal.getsignal(signal.SIGUSR1)
    assert main(["fit", "--help"]) == 0
    assert signal.getsignal(signal.SIGUSR1) is before
    assert current_request() is None


@pytest.mark.parametrize(
    "which",
    [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_a_signal_during_the_imports_does_not_kill(which: signal.Signals) -> None:
    """It waits for the command, which here finds a wrong value first."""
    code = f"""
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.kill(os.getpid(), {int(which)})
sys.meta_path.insert(0, Finder())
from lightning_petl.__main__ import main
sys.exit(main(["fit", "--config=nothing.yaml"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "nothing.yaml" in done.stderr
