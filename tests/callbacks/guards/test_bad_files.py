"""Files that cannot be read are named, counted, and too many of them end a training."""

from collections.abc import Callable
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from data_modules.batch import VideoBatch
from lightning_petl.callbacks.guards.bad_files import BadFiles
from lightning_petl.distributed.collectives import any_rank


def batch(*fault: str) -> VideoBatch:
    return VideoBatch(
        torch.zeros(len(fault), 1, 1, 3, 2, 2, dtype=torch.uint8),
        torch.zeros(len(fault)).long(),
        [],
        fault,
    )


def trainer(clips: int, *, within_update: bool = False) -> Trainer:
    loop = Mock(_should_accumulate=lambda: within_update)
    return Mock(
        spec=Trainer, train_dataloader=Mock(dataset=range(clips)), fit_loop=loop
    )


MODULE = Mock(spec=LightningModule, device=torch.device("cpu"))


def after(callback: BadFiles, clips: int, *fault: str) -> None:
    callback.on_train_batch_end(trainer(clips), MODULE, None, batch(*fault), 0)


def test_a_file_is_named_and_counted_once() -> None:
    callback, module = (
        BadFiles(budget=0.5),
        Mock(spec=LightningModule, device=torch.device("cpu")),
    )
    with pytest.warns(
        UserWarning, match=r"a\.mp4: damaged; another clip stands in"
    ):
        after(callback, 4, "", "a.mp4: damaged")
    after(callback, 4, "a.mp4: damaged", "")  # no warning, which would be an error
    callback.on_train_epoch_end(trainer(4), module)
    module.log.assert_called_once_with(
        "data/bad_files", 1.0, sync_dist=True, reduce_fx="max"
    )


def end_update(callback: BadFiles) -> None:
    after(callback, 4, "")
    callback.on_train_epoch_end(trainer(4), MODULE)


def end_epoch_within_update(callback: BadFiles) -> None:
    """As a limit of time does."""
    callback.on_train_epoch_end(trainer(4, within_update=True), MODULE)


@pytest.mark.parametrize("end", [end_update, end_epoch_within_update])
def test_ranks_agree_once_for_all_passes_of_an_update(
    end: Callable[[BadFiles], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    agree = Mock(side_effect=any_rank)
    monkeypatch.setattr("lightning_petl.callbacks.guards.bad_files.any_rank", agree)
    callback = BadFiles(budget=0.5)
    for fault in ("a: x", ""):
        callback.on_train_batch_end(
            trainer(4, within_update=True), MODULE, None, batch(fault), 0
        )
    agree.assert_not_called()
    with pytest.warns(UserWarning, match="a: x; another clip stands in"):
        end(callback)
    agree.assert_called_once()


def test_above_the_budget_training_stops_with_the_list() -> None:
    callback = BadFiles(budget=0.25)
    with pytest.warns(UserWarning, match="a: x"):
        after(callback, 4, "a: x")  # one of four is allowed
    with (
        pytest.warns(UserWarning, match="b: y"),
        pytest.raises(
            ValueError,
            match=r"2 of 4 training clips .* more than bad_files.budget=0.25 allows: a: x; b: y",
        ),
    ):
        after(callback, 4, "b: y")


@pytest.mark.parametrize(
    ("budget", "clips", "allowed"),
    [
        (0.001, 4, 1),
        (0.001, 8, 2),
        (0.001, 12, 3),
        (0.001, 999, 3),
        (0.001, 10_000, 10),
        (0.25, 100, 25),
        (0.0, 100, 0),
    ],
)
def test_a_part_that_rounds_to_none_allows_a_few(
    budget: float, clips: int, allowed: int
) -> None:
    callback = BadFiles(budget)
    for number in range(allowed):
        with pytest.warns(
            UserWarning, match=f"{number}: damaged; another clip stands in"
        ):
            after(callback, clips, f"{number}: damaged")
    message = f"{allowed + 1} of {clips} training clips"
    with (
        pytest.warns(UserWarning, match="one more"),
        pytest.raises(ValueError, match=message),
    ):
        after(callback, clips, "one more")


def test_a_resumed_run_goes_on_counting() -> None:
    callback, resumed = BadFiles(budget=1.0), BadFiles(budget=0.25)
    with pytest.warns(UserWarning, match="a: x"):
        after(callback, 4, "a: x")
    resumed.load_state_dict(callback.state_dict())
    with (
        pytest.warns(UserWarning, match="b"),
        pytest.raises(ValueError, match="a: x; b: y"),
    ):
        after(resumed, 4, "b: y")


def test_what_counts_as_wrong_is_told_at_the_end() -> None:
    callback = BadFiles()
    callback.on_test_batch_end(
        trainer(4), MODULE, None, batch("", "a: x", "b: y"), 0
    )
    with pytest.warns(
        UserWarning,
        match=r"2 video\(s\) could not be read and count as wrong: a: x; b: y",
    ):
        callback.on_test_end(trainer(4), MODULE)
    callback.on_test_end(trainer(4), MODULE)  # told once


@pytest.mark.parametrize("budget", [-0.1, 1.5])
def test_a_wrong_budget_is_named(budget: float) -> None:
    with pytest.raises(ValueError, match=f"bad_files.budget: .*{budget}"):
        BadFiles(budget)
