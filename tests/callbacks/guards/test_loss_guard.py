"""A loss that is no number stops a run or costs one update; the batch is kept."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_petl.__main__ import main
from lightning_petl.callbacks.guards.loss_guard import LossGuard
from lightning_petl.checkpoints.random_state import RandomState
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import Command
from tests.failing import Overflow
from tests.retrieval_runs import RetrievalCommand
from tests.tasks.ranks import on_ranks
from tests.tasks.test_resume import same

# 10 clips in batches of 3: an epoch of 3 passes; RandomStates, so that a checkpoint holds all that changes
FLAGS = ["--preemption.every_n_steps=1", "--checkpoint.save_top_k=-1", "--checkpoint.every_n_train_steps=1",
         "--checkpoint.monitor=null", "--trainer.max_epochs=2", "--trainer.limit_val_batches=0"]  # fmt: skip


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Factors of the loss, by the number of the pass, from 0."""
    factors: dict[int, float] = {}
    step, passes = VideoClassifier.training_step, iter(range(1000))

    def training_step(
        self: VideoClassifier, batch: Any, batch_idx: int
    ) -> torch.Tensor:
        return step(self, batch, batch_idx) * factors.get(next(passes), 1.0)

    monkeypatch.setattr(VideoClassifier, "training_step", training_step)
    return factors


def states(run: Path) -> dict[int, dict[str, Any]]:
    loaded = [
        torch.load(path, weights_only=True)
        for path in (run / "checkpoints").glob("epoch*.ckpt")
    ]
    return {state["global_step"]: state for state in loaded}


def test_stops_with_the_batch(
    bad: dict[int, float], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    bad[4] = float("nan")
    assert main(command("fit", FLAGS)) == 2
    run = command.runs / "version_0"
    told = capsys.readouterr().err.splitlines()[-1]
    assert (
        f"loss nan in update 4, its batch is in {run}/bad_batch_step=4.pt" in told
    )
    assert "loss_guard.on_bad=skip leaves such updates out" in told
    kept = torch.load(run / "bad_batch_step=4.pt", weights_only=True)
    assert len(kept["clip_id"]) == len(kept["video"]) == len(kept["label"]) == 3
    assert kept["step"] == 4
    assert kept["video"].dtype == torch.uint8
    RandomState(*kept["random_state"]).restore()
    assert max(states(run)) == 4  # the fifth update was not made


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_skip_leaves_one_update_out(
    value: float, bad: dict[int, float], command: Command
) -> None:
    bad[4] = value
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main(command("fit", [*FLAGS, "--loss_guard.on_bad=skip"])) == 0
    assert any(
        "this update is left out, the 1. of 10" in str(warning.message)
        for warning in caught
    )
    found = states(command.runs / "version_0")
    assert same(found[5]["state_dict"], found[4]["state_dict"])
    assert same(
        found[5]["optimizer_states"][0]["state"],
        found[4]["optimizer_states"][0]["state"],
    )
    assert not same(found[6]["state_dict"], found[5]["state_dict"])
    assert all(
        bool(torch.isfinite(value).all())
        for value in found[6]["state_dict"].values()
    )
    assert (command.runs / "version_0" / "bad_batch_step=4.pt").is_file()


def test_one_bad_pass_costs_the_whole_accumulated_update(
    bad: dict[int, float], command: Command
) -> None:
    bad[3] = float(
        "nan"
    )  # the first of two passes of the third update, with one pass at the end of each epoch
    flags = [
        *FLAGS,
        "--loss_guard.on_bad=skip",
        "--trainer.accumulate_grad_batches=2",
    ]
    with pytest.warns(UserWarning, match="this update is left out"):
        assert main(command("fit", flags)) == 0
    found = states(command.runs / "version_0")
    assert sorted(found) == [1, 2, 3, 4]
    assert same(found[3]["state_dict"], found[2]["state_dict"])
    assert not same(found[4]["state_dict"], found[3]["state_dict"])


SIDE = ["--model.adapters=[Side4Video]", "--model.adapters.width=64", "--loss_guard.on_bad=skip",
        "--trainer.callbacks+=EMA", f"--trainer.callbacks+={Overflow.__module__}.Overflow"]  # fmt: skip


def averages(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return state["callbacks"]["EMA"]["average"]


def finite(tensors: dict[str, torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in tensors.values())


@pytest.mark.parametrize(("passes", "batch", "update"), [(1, 3, 4), (2, 3, 3)])
def test_a_skipped_update_leaves_no_trace_in_statistics(
    passes: int, batch: int, update: int, command: Command
) -> None:
    """An activation really overflows: all that is behind it, BatchNorms' averages among it, is no number."""
    flags = [
        *SIDE,
        f"--trainer.callbacks.batch={batch}",
        f"--trainer.accumulate_grad_batches={passes}",
    ]
    with pytest.warns(UserWarning, match="this update is left out"):
        assert main(command("fit", [*FLAGS, *flags])) == 0
    found = states(command.runs / "version_0")
    before, skipped, after = (
        found[step] for step in (update - 1, update, update + 1)
    )
    assert any("running_var" in name for name in before["state_dict"])
    assert same(skipped["state_dict"], before["state_dict"])
    assert not same(after["state_dict"], before["state_dict"])
    assert finite(after["state_dict"])
    assert finite(averages(skipped))
    assert finite(averages(after))


def test_an_update_that_one_rank_must_skip_both_leave_out(command: Command) -> None:
    """The rank whose numbers were fine puts its own statistics back, too: both hold what they held."""
    flags = [
        *SIDE,
        "--trainer.callbacks.batch=1",
        "--trainer.callbacks.rank=1",
        "--data.batch_size=2",
    ]
    errors = on_ranks([command("fit", [*FLAGS, *flags])])
    run = command.runs / "version_0"
    assert (
        f"loss nan in update 1, its batch is in {run}/bad_batch_step=1_rank=1.pt"
        in errors[0]
    )
    assert not list(run.glob("bad_batch_step=1.pt"))
    found = states(run)
    assert sorted(found) == [1, 2, 3, 4]
    assert same(found[2]["state_dict"], found[1]["state_dict"])
    assert same(
        found[2]["optimizer_states"][0]["state"],
        found[1]["optimizer_states"][0]["state"],
    )
    assert not same(found[3]["state_dict"], found[2]["state_dict"])
    assert finite(found[4]["state_dict"])
    assert finite(averages(found[4]))


def kept_of(run: Path) -> dict[str, Any]:
    return torch.load(run / "bad_batch_step=0.pt", weights_only=True)


def test_captions_are_kept(tmp_path: Path) -> None:
    command = RetrievalCommand(tmp_path)
    flags = [
        f"--trainer.callbacks+={Overflow.__module__}.Overflow",
        "--trainer.callbacks.batch=0",
    ]
    assert main(command("fit", flags)) == 2
    kept = kept_of(command.runs / "version_0")
    assert [len(captions) for captions in kept["captions"]] == [1, 1, 1]
    for name, (caption,) in zip(kept["clip_id"], kept["captions"], strict=True):
        _, way, file = name.split("/")
        assert caption.startswith(f"bar {file.partition('.')[0]} ")
        assert way in caption


def test_what_was_mixed_is_kept(command: Command) -> None:
    flags = [
        f"--trainer.callbacks+={Overflow.__module__}.Overflow",
        "--trainer.callbacks.batch=0",
    ]
    assert (
        main(
            command("fit", [*flags, "--data.mixing=Mixing", "--data.batch_size=4"])
        )
        == 2
    )
    kept = kept_of(command.runs / "version_0")
    assert kept["partners"].keys() == {"label", "weight"}
    assert len(kept["partners"]["label"]) == len(kept["partners"]["weight"]) == 4
    assert kept["fault"] == ["", "", "", ""]
    assert kept["captions"] == []


def test_more_than_the_budget_stop(
    bad: dict[int, float], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    bad |= {2: float("nan"), 4: float("nan")}
    with pytest.warns(UserWarning, match="this update is left out"):
        assert (
            main(
                command(
                    "fit",
                    [*FLAGS, "--loss_guard.on_bad=skip", "--loss_guard.budget=1"],
                )
            )
            == 2
        )
    assert (
        "more than loss_guard.budget=1 updates were left out"
        in capsys.readouterr().err.splitlines()[-1]
    )


def test_a_spike_is_one_beside_the_median() -> None:
    guard = LossGuard(spike=3.0)
    guard._losses.extend([1.0] * 19)
    assert not guard._bad(100.0)  # too few to tell
    guard._losses.append(1.0)
    assert guard._bad(3.1)
    assert not guard._bad(2.9)
    assert not LossGuard()._bad(1e30)
    with pytest.raises(
        ValueError, match=r"loss_guard\.spike: expected a factor above 1, got 1"
    ):
        LossGuard(spike=1.0)


def test_a_spike_is_found_in_the_loss_itself(
    bad: dict[int, float], command: Command, monkeypatch: Any
) -> None:
    """Whatever Lightning divides it by for accumulation: else the spike would be half of what it is."""
    monkeypatch.setattr("lightning_petl.callbacks.guards.loss_guard.HISTORY", 3)
    bad[4] = 100.0
    flags = [*FLAGS, "--loss_guard.spike=5", "--trainer.accumulate_grad_batches=2"]
    assert main(command("fit", flags)) == 2
    kept = torch.load(
        command.runs / "version_0" / "bad_batch_step=2.pt", weights_only=True
    )
    assert kept["loss"] > 20  # 100 times about log 2
