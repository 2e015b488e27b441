"""A stop in the middle of an epoch changes no bit, with dropout and augmentation on."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.drill.compare import same
from lightning_petl.__main__ import main
from tests.commands import Command

# 10 clips in batches of 3: epochs of 3 updates; a checkpoint after each update
FLAGS = [
    "--trainer.max_epochs=3", "--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1",
    "--checkpoint.monitor=null", "--model.head.dropout=0.5", "--model.adapters.init_args.dropout=0.3",
]  # fmt: skip


def final(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture
def uninterrupted(command: Command) -> Path:
    assert main(command("fit", FLAGS)) == 0
    return command.runs / "version_0"


@pytest.mark.parametrize(
    "step", [1, 3, 5], ids=["in the first epoch", "at its end", "in the second"]
)
def test_bit_exact(step: int, command: Command, uninterrupted: Path) -> None:
    stopped = next((uninterrupted / "checkpoints").glob(f"*step={step}.ckpt"))
    torch.manual_seed(
        99
    )  # a new process would not hold the old one's random state either
    assert main(command("fit", [*FLAGS, f"--ckpt_path={stopped}"])) == 0
    expected, actual = final(uninterrupted), final(command.runs / "version_1")
    assert actual["global_step"] == expected["global_step"] == 9
    assert same(actual["state_dict"], expected["state_dict"])
    assert same(actual["optimizer_states"], expected["optimizer_states"])
    assert same(actual["lr_schedulers"], expected["lr_schedulers"])


def test_the_random_state_matters(command: Command, uninterrupted: Path) -> None:
    """Without it the same resume gives other weights: the test above sees dropout."""
    stopped = next((uninterrupted / "checkpoints").glob("*step=5.ckpt"))
    checkpoint = torch.load(stopped, weights_only=True)
    del checkpoint["callbacks"]["RandomStates"]
    torch.save(checkpoint, stopped)
    assert main(command("fit", [*FLAGS, f"--ckpt_path={stopped}"])) == 0
    assert not same(
        final(command.runs / "version_1")["state_dict"],
        final(uninterrupted)["state_dict"],
    )


def test_a_finished_training_that_goes_on_wastes_no_update(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first update was made at the rate that the shorter cosine ended with, zero."""
    run, flags = (
        command.runs / "mine",
        ["--trainer.log_every_n_steps=1", f"--run_folder={command.runs / 'mine'}"],
    )
    assert main(command("fit", flags)) == 0
    assert main(command("fit", [*flags, "--trainer.max_epochs=2"])) == 0
    assert (
        "the learning rate goes on at 0.005, as this training's schedule has it"
        in capsys.readouterr().out
    )
    events = EventAccumulator(str(run)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("z_lr-")]
    assert tags
    longer = [0.01 * (1 + math.cos(math.pi * done / 6)) / 2 for done in (3, 4, 5)]
    for tag in tags:
        assert [event.value for event in events.Scalars(tag)][3:] == pytest.approx(
            longer
        )
