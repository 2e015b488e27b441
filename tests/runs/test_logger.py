"""TensorBoard opens the first groups by name: those of loss and accuracy."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.runs.logger import RunLogger, shown_as
from tests.commands import Command


def groups(run: Path) -> list[str]:
    """As the Time Series tab sorts them: by the first part of a name."""
    tags = EventAccumulator(str(run)).Reload().Tags()["scalars"]
    return sorted({tag.partition("/")[0] for tag in tags})


def test_loss_and_accuracy_are_the_first_groups(command: Command) -> None:
    assert main(command("fit", ["--trainer.max_epochs=2"])) == 0
    found = groups(command.runs / "version_0")
    assert found[:2] == ["train", "val"]
    assert {"z_cost", "z_data", "z_epoch"} <= set(found)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_its_curves_again(
    tmp_path: Path,
) -> None:
    for losses in ([5.0, 4.0], [3.0, 2.0, 1.0]):
        logger = RunLogger(tmp_path)
        for step, loss in enumerate(losses):
            logger.log_metrics({"train/loss": loss}, step)
        logger.flush()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [
        (0, 3.0),
        (1, 2.0),
        (2, 1.0),
    ]


@pytest.mark.parametrize(
    "tag",
    [
        "train/loss",
        "val/top1",
        "test/top1",
        "costly",
        "database/x",
        "mine/cost/x",
        "lrate",
    ],
)
def test_other_tags_keep_their_names(tag: str) -> None:
    assert shown_as(tag) == tag


@pytest.mark.parametrize(
    "tag",
    [
        "cost/clips_per_s",
        "data/bad_files",
        "epoch",
        "lr-AdamW/head/decay",
        "lr/head",
    ],
)
def test_what_is_seldom_looked_at_comes_last(tag: str) -> None:
    assert shown_as(tag) == f"z_{tag}"
