"""The average follows its equation, holds what trains alone, and is in the model only while it is evaluated."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_petl.__main__ import main
from lightning_petl.callbacks.ema import EMA
from tests.commands import Command

STEPS = 7
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False,
}  # fmt: skip


class Climber(LightningModule):
    """A weight that is ``n`` after update ``n``, a frozen one, and a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.frozen = (
            nn.Parameter(torch.zeros(())),
            nn.Parameter(torch.ones(()), requires_grad=False),
        )
        self.norm = nn.BatchNorm1d(1)
        self.validated: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight * self.frozen + 0 * self.norm(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(self.weight.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=1)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            [torch.full((1,), float(n)) for n in range(2 * STEPS)], batch_size=2
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader([torch.zeros(1)])


class FailingClimber(Climber):
    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if not self.trainer.sanity_checking:
            raise RuntimeError("the disk is gone")


def average(decay: float, weights: list[float]) -> float:
    """``sum_k (1 - d_k) w_k prod_{j > k} d_j + w_0 prod_j d_j``, the recursion written out."""
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(1, len(weights))]
    total = weights[0] * float(torch.tensor(decays, dtype=torch.float64).prod())
    for k, weight in enumerate(weights[1:]):
        total += (
            (1 - decays[k])
            * weight
            * float(torch.tensor(decays[k + 1 :], dtype=torch.float64).prod())
        )
    return total


@pytest.mark.parametrize(
    ("decay", "every", "passes", "seen"),
    [
        (0.9999, 1, 1, range(STEPS + 1)),
        (0.3, 1, 1, range(STEPS + 1)),
        (0.3, 3, 1, [0, 3, 6]),
        (0.3, 1, 2, [0, 1, 2, 3, 3.5]),  # of 7 passes, the last is half an update
    ],
    ids=["warm-up", "decay", "every third", "accumulated"],
)
def test_the_equation(
    decay: float, every: int, passes: int, seen: Iterable[float]
) -> None:
    ema, module = EMA(decay, every_n_steps=every), Climber()
    Trainer(
        **QUIET, max_epochs=1, callbacks=[ema], accumulate_grad_batches=passes
    ).fit(module)
    weights, last = [float(n) for n in seen], STEPS / passes
    assert module.weight.item() == pytest.approx(last)
    assert module.validated == [0.0] * len(module.validated[:-1]) + [
        pytest.approx(average(decay, weights), rel=1e-6)
    ]
    with ema.in_use(module):
        assert module.weight.item() == pytest.approx(
            average(decay, weights), rel=1e-6
        )
    assert module.weight.item() == pytest.approx(last)


def test_only_what_trains_is_held_and_statistics_are_copied() -> None:
    ema, module = EMA(), Climber()
    Trainer(**QUIET, max_epochs=1, callbacks=[ema]).fit(module)
    held = ema.state_dict()["average"]
    assert held.keys() == {
        "weight",
        *(f"norm.{name}" for name in module.norm.state_dict()),
    }
    assert torch.equal(held["norm.running_mean"], module.norm.running_mean)
    assert held["norm.num_batches_tracked"] == STEPS


def test_the_weights_come_back_when_validation_fails() -> None:
    ema, module = EMA(), FailingClimber()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        Trainer(**QUIET, max_epochs=1, callbacks=[ema]).fit(module)
    assert module.validated[-1] != STEPS
    assert module.weight.item() == STEPS


@pytest.mark.parametrize(
    "wrong", [{"decay": 1.0}, {"decay": -0.1}, {"every_n_steps": 0}]
)
def test_wrong_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"EMA.{next(iter(wrong))}: expected"):
        EMA(**wrong)


FLAGS = ["--trainer.callbacks+=EMA", "--trainer.callbacks.decay=0.5"]


def saved(
    run: Path, name: str = "last"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and averages in a checkpoint."""
    checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return checkpoint["state_dict"], checkpoint["callbacks"]["EMA"]["average"]


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(value, right[name]) for name, value in left.items()
    )


def test_a_run_saves_both_and_shares_the_average(command: Command) -> None:
    assert main(command("fit", FLAGS)) == 0
    weights, averages = saved(command.runs / "version_0")
    assert averages.keys() == weights.keys()
    assert not any(torch.equal(averages[name], weights[name]) for name in weights)
    assert same(
        load_file(
            command.runs / "version_0" / "artifact" / "adapter_model.safetensors"
        ),
        averages,
    )


def test_tested_is_the_average(command: Command) -> None:
    """By a run that knows the average and by one whose weights are that average."""
    assert main(command("fit", FLAGS)) == 0
    run = command.runs / "version_0"
    last = f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    assert main(command("test", [*FLAGS, last])) == 0
    assert main(command("test", [f"--artifact={run / 'artifact'}"])) == 0
    with pytest.warns(
        UserWarning, match=r"Please add the following callbacks: \['EMA'\]"
    ):
        assert main(command("test", [last])) == 0
    average, shared, raw = (
        (command.runs / f"version_{n}" / "test_scores.jsonl")
        .read_text()
        .splitlines()
        for n in (1, 2, 3)
    )
    assert sorted(average) == sorted(shared)
    assert sorted(average) != sorted(raw)


def test_resumed_in_mid_epoch_is_the_same_bits(command: Command) -> None:
    flags = [
        *FLAGS, "--trainer.max_epochs=2", "--model.head.dropout=0.5", "--checkpoint.every_n_train_steps=1",
        "--checkpoint.save_top_k=-1", "--checkpoint.monitor=null",
    ]  # fmt: skip
    assert main(command("fit", flags)) == 0
    stopped = next(
        (command.runs / "version_0" / "checkpoints").glob("*step=2.ckpt")
    )
    assert main(command("fit", [*flags, f"--ckpt_path={stopped}"])) == 0
    whole, resumed = (saved(command.runs / f"version_{n}") for n in (0, 1))
    assert same(whole[0], resumed[0])
    assert same(whole[1], resumed[1])
