"""A stop in the middle of an epoch changes no bit, with dropout and augmentation on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.drill.compare import same
from lightning_petl.__main__ import main
from tests.runs import Command

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


@pytest.mark.parametrize("step", [1, 3, 5], ids=["in the first epoch", "at its end", "in the second"])
def test_bit_exact(step: int, command: Command, uninterrupted: Path) -> None:
    stopped = next((uninterrupted / "checkpoints").glob(f"*step={step}.ckpt"))
    torch.manual_seed(99)  # a new process would not hold the old one's random state either
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
    assert not same(final(command.runs / "version_1")["state_dict"], final(uninterrupted)["state_dict"])
