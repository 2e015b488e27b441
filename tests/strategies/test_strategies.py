"""What the strategy for replicas checks and sends, on two real ranks, and which strategies there are."""

import data_modules.compat  # noqa: F401, I001  # ranks import this file first

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_petl.__main__ import main
from lightning_petl.strategies.ddp import TrainableDDP
from lightning_petl.strategies.registry import resolve_strategy
from tests.commands import Command


class Small(LightningModule):
    """``2 + 1`` weights that train, a frozen one, one that is declared dead, statistics; ranks see other numbers."""

    def __init__(self, frozen: float = 1.0, unreachable: bool = True) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 1), nn.BatchNorm1d(1, affine=True)
        self.frozen = nn.Parameter(torch.full((5,), frozen), requires_grad=False)
        self.dead = nn.Parameter(torch.ones(3))
        self.unreachable = {"dead"} if unreachable else set[str]()
        self.owners = {"dead": "Undertaker"}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.norm(self.layer(batch)) - batch[:, :1]).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/mean", batch.mean(), batch_size=len(batch), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(int(os.environ["LOCAL_RANK"]))
        return DataLoader(
            [torch.randn(2, generator=generator) for _ in range(16)], batch_size=4
        )

    def val_dataloader(self) -> DataLoader[Any]:
        numbers = ([1.0, 2.0], [6.0])[int(os.environ["LOCAL_RANK"])]
        return DataLoader([torch.full((2,), number) for number in numbers])


class Watcher(Callback):
    """What DDP was told, and the bytes sent after each pass."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"bytes": []}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        replica: Any = trainer.strategy.model
        self.seen |= {
            "static": replica.static_graph,
            "stays": sorted(replica.parameters_to_ignore),
        }
        self.seen |= {
            "buffers": replica.broadcast_buffers,
            "views": replica.gradient_as_bucket_view,
        }

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.seen["bytes"].append(trainer.strategy.gradient_bytes)


def fit(module: LightningModule, passes: int) -> dict[str, Any]:
    """Train a module on two ranks for which no strategy is named; what was seen, or what was told."""
    watcher = Watcher()
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(
        **quiet, accelerator="cpu", devices=2, max_epochs=1, accumulate_grad_batches=passes, callbacks=[watcher],
        enable_checkpointing=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    try:
        trainer.fit(module)
    except ValueError as error:
        return {"told": str(error)}
    state = {name: value.tolist() for name, value in module.state_dict().items()}
    watcher.seen["mean"] = trainer.callback_metrics["val/mean"].item()
    return watcher.seen | {
        "strategy": type(trainer.strategy).__name__,
        "state": state,
    }


def work() -> None:
    """What a rank does."""
    rank = float(os.environ["LOCAL_RANK"])
    recipes = {
        "plain": (Small(), 1),
        "accumulated": (Small(), 2),
        "undeclared": (Small(unreachable=False), 1),
        "undeclared_accumulated": (Small(unreachable=False), 2),
        "other_trunk": (Small(frozen=rank), 1),
    }
    print(json.dumps({name: fit(*recipe) for name, recipe in recipes.items()}))


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    """What each rank saw."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "from tests.strategies.test_strategies import work; work()"],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1", "LOCAL_RANK": str(rank), "MASTER_PORT": port},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=300) for process in processes]
    assert all(process.returncode == 0 for process in processes), told[0][1][-4000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in told]


BYTES = 4 * (2 + 1 + 2)  # weight and bias of the layer, scale and shift of the norm


def test_several_devices_replicate_what_trains_and_has_a_gradient(
    ranks: list[dict[str, Any]],
) -> None:
    for seen in ranks:
        plain = seen["plain"]
        assert plain["strategy"] == TrainableDDP.__name__
        assert {name.removeprefix(".") for name in plain["stays"]} == {
            "dead",
            "frozen",
        }
        assert (plain["static"], plain["buffers"], plain["views"]) == (
            True,
            False,
            True,
        )
        assert plain["bytes"] == [BYTES, 2 * BYTES, 3 * BYTES, 4 * BYTES]


def test_a_pass_that_only_accumulates_sends_nothing(
    ranks: list[dict[str, Any]],
) -> None:
    for seen in ranks:
        assert seen["accumulated"]["bytes"] == [0, BYTES, BYTES, 2 * BYTES]
        assert not seen["accumulated"][
            "static"
        ]  # torch fails where the first pass of a static graph sends nothing


@pytest.mark.parametrize("recipe", ["plain", "accumulated"])
def test_ranks_hold_the_same_weights_and_the_statistics_of_the_first(
    ranks: list[dict[str, Any]], recipe: str
) -> None:
    first, second = (seen[recipe]["state"] for seen in ranks)
    assert first == second
    assert first["dead"] == [1.0, 1.0, 1.0]
    assert first["norm.num_batches_tracked"] == 4


def test_ranks_with_other_numbers_of_clips_agree_on_the_mean_over_all(
    ranks: list[dict[str, Any]],
) -> None:
    assert [seen["plain"]["mean"] for seen in ranks] == [3.0, 3.0]  # of 1, 2 and 6


@pytest.mark.parametrize("recipe", ["undeclared", "undeclared_accumulated"])
def test_what_gets_no_gradient_is_named(
    ranks: list[dict[str, Any]], recipe: str
) -> None:
    for seen in ranks:
        assert (
            "1 trainable tensor(s) got none in the first update: dead of Undertaker"
            in seen[recipe]["told"]
        )


def test_another_trunk_on_another_rank_is_named(
    ranks: list[dict[str, Any]],
) -> None:
    for rank, seen in enumerate(ranks):
        other = f"rank {1 - rank} holds other frozen weights than rank {rank}: 1 tensor(s), frozen among them"
        assert seen["other_trunk"]["told"].startswith(other)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("auto", "auto"),
        ("ddp", "ddp"),
        ("DDP", "ddp"),
        ("fsdp", "sharded"),
        ("FSDP", "sharded"),
        ("Fsdp", "sharded"),
    ],
)
def test_three_names(said: str, meant: str) -> None:
    assert resolve_strategy(said) == meant


@pytest.mark.parametrize(
    "said",
    ["fsdp1", "fsdp2", "dp", "ddp_spawn", "ddp_find_unused_parameters_true", "single_device", "sharded", "FSDPStrategy",
     "lightning.pytorch.strategies.FSDPStrategy", DDPStrategy(), SingleDeviceStrategy()],
)  # fmt: skip
def test_others_are_refused_with_the_three(said: str | Strategy) -> None:
    with pytest.raises(
        ValueError, match="use fsdp, which is FSDP2, ddp or auto; FSDP1, DeepSpeed"
    ):
        resolve_strategy(said)


def test_own_strategies_with_options_are_taken() -> None:
    patient = TrainableDDP(timeout=timedelta(hours=1))
    assert resolve_strategy(patient) is patient
    assert (
        resolve_strategy("lightning_petl.strategies.ddp.TrainableDDP")
        == "lightning_petl.strategies.ddp.TrainableDDP"
    )


@pytest.mark.parametrize("strategy", ["fsdp2", "dp", "ddp_spawn", "DDPStrategy"])
def test_the_program_refuses_before_it_builds(
    strategy: str, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("fit", "summary", "check"):
        assert main(command(name, [f"--trainer.strategy={strategy}"])) == 2
        assert (
            "use fsdp, which is FSDP2, ddp or auto"
            in capfd.readouterr().err.splitlines()[-1]
        )
    assert not command.runs.exists()
