"""A loss that is no number stops a run or costs one update; the batch is kept."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_petl.__main__ import main
from lightning_petl.callbacks.loss_guard import LossGuard
from lightning_petl.checkpoint import RandomState
from lightning_petl.tasks.classification import VideoClassifier
from tests.runs import Command
from tests.tasks.test_resume import same

# 10 clips in batches of 3: an epoch of 3 passes; RandomStates, so that a checkpoint holds all that changes
FLAGS = ["--preemption.every_n_steps=1", "--checkpoint.save_top_k=-1", "--checkpoint.every_n_train_steps=1",
         "--checkpoint.monitor=null", "--trainer.max_epochs=2", "--trainer.limit_val_batches=0"]  # fmt: skip


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Factors of the loss, by the number of the pass, from 0."""
    factors: dict[int, float] = {}
    step, passes = VideoClassifier.training_step, iter(range(1000))

    def training_step(self: VideoClassifier, batch: Any, batch_idx: int) -> torch.Tensor:
        return step(self, batch, batch_idx) * factors.get(next(passes), 1.0)

    monkeypatch.setattr(VideoClassifier, "training_step", training_step)
    return factors


def states(run: Path) -> dict[int, dict[str, Any]]:
    loaded = [torch.load(path, weights_only=True) for path in (run / "checkpoints").glob("epoch*.ckpt")]
    return {state["global_step"]: state for state in loaded}


def test_stops_with_the_batch(bad: dict[int, float], command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    bad[4] = float("nan")
    assert main(command("fit", FLAGS)) == 2
    run = command.runs / "version_0"
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"loss nan in update 4, its batch is in {run}/bad_batch_step=4.pt" in told
    assert "loss_guard.on_bad=skip leaves such updates out" in told
    kept = torch.load(run / "bad_batch_step=4.pt", weights_only=True)
    assert len(kept["clip_id"]) == len(kept["video"]) == len(kept["label"]) == 3
    assert kept["step"] == 4
    assert kept["video"].dtype == torch.uint8
    RandomState(*kept["random_state"]).restore()
    assert max(states(run)) == 4  # the fifth update was not made


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_skip_leaves_one_update_out(value: float, bad: dict[int, float], command: Command) -> None:
    bad[4] = value
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main(command("fit", [*FLAGS, "--loss_guard.on_bad=skip"])) == 0
    assert any("this update is left out, the 1. of 10" in str(warning.message) for warning in caught)
    found = states(command.runs / "version_0")
    assert same(found[5]["state_dict"], found[4]["state_dict"])
    assert same(found[5]["optimizer_states"][0]["state"], found[4]["optimizer_states"][0]["state"])
    assert not same(found[6]["state_dict"], found[5]["state_dict"])
    assert all(bool(torch.isfinite(value).all()) for value in found[6]["state_dict"].values())
    assert (command.runs / "version_0" / "bad_batch_step=4.pt").is_file()


def test_one_bad_pass_costs_the_whole_accumulated_update(bad: dict[int, float], command: Command) -> None:
    bad[3] = float("nan")  # the first of two passes of the third update, with one pass at the end of each epoch
    flags = [*FLAGS, "--loss_guard.on_bad=skip", "--trainer.accumulate_grad_batches=2"]
    with pytest.warns(UserWarning, match="this update is left out"):
        assert main(command("fit", flags)) == 0
    found = states(command.runs / "version_0")
    assert sorted(found) == [1, 2, 3, 4]
    assert same(found[3]["state_dict"], found[2]["state_dict"])
    assert not same(found[4]["state_dict"], found[3]["state_dict"])


def test_more_than_the_budget_stop(bad: dict[int, float], command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    bad |= {2: float("nan"), 4: float("nan")}
    with pytest.warns(UserWarning, match="this update is left out"):
        assert main(command("fit", [*FLAGS, "--loss_guard.on_bad=skip", "--loss_guard.budget=1"])) == 2
    assert "more than loss_guard.budget=1 updates were left out" in capsys.readouterr().err.splitlines()[-1]


def test_a_spike_is_one_beside_the_median() -> None:
    guard = LossGuard(spike=3.0)
    guard._losses.extend([1.0] * 19)
    assert not guard._bad(100.0)  # too few to tell
    guard._losses.append(1.0)
    assert guard._bad(3.1)
    assert not guard._bad(2.9)
    assert not LossGuard()._bad(1e30)
    with pytest.raises(ValueError, match=r"loss_guard\.spike: expected a factor above 1, got 1"):
        LossGuard(spike=1.0)


def test_a_spike_is_found_in_the_loss_itself(bad: dict[int, float], command: Command, monkeypatch: Any) -> None:
    """Whatever Lightning divides it by for accumulation: else the spike would be half of what it is."""
    monkeypatch.setattr("lightning_petl.callbacks.loss_guard.HISTORY", 3)
    bad[4] = 100.0
    flags = [*FLAGS, "--loss_guard.spike=5", "--trainer.accumulate_grad_batches=2"]
    assert main(command("fit", flags)) == 2
    kept = torch.load(command.runs / "version_0" / "bad_batch_step=2.pt", weights_only=True)
    assert kept["loss"] > 20  # 100 times about log 2
