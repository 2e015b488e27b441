"""Callbacks stand in the order that they need of one another, also once a Trainer has sorted them."""

from itertools import combinations

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from lightning_petl.callbacks.cost.ownership import Ownership
from lightning_petl.callbacks.cost.throughput import Throughput
from lightning_petl.callbacks.guards.bad_files import BadFiles
from lightning_petl.callbacks.guards.frozen_guard import FrozenGuard
from lightning_petl.callbacks.guards.gradient_guard import GradientGuard
from lightning_petl.callbacks.guards.loss_guard import LossGuard
from lightning_petl.callbacks.guards.ranks import Ranks
from lightning_petl.callbacks.outputs.artifact_writer import ArtifactWriter
from lightning_petl.callbacks.outputs.epoch_lines import EpochLines
from lightning_petl.callbacks.outputs.member_runs import MemberRuns
from lightning_petl.callbacks.resume.best_checkpoint import BestCheckpoint
from lightning_petl.callbacks.resume.global_batch import GlobalBatch
from lightning_petl.callbacks.resume.preemption import Preemption
from lightning_petl.cli.defaults import callbacks

# each line: what is called earlier in a hook, what later, and why
ORDERS: dict[str, list[type[Callback]]] = {
    "the table is printed before a guard stops the run": [Ownership, GradientGuard],
    "the table is printed before ranks are compared": [Ownership, Ranks],
    "lines of an epoch show what these have logged": [Throughput, EpochLines],
    "and the learning rate": [LearningRateMonitor, EpochLines],
    "artifacts hold frozen weights that were compared": [
        FrozenGuard,
        ArtifactWriter,
    ],
    "and gradients that were all seen": [GradientGuard, ArtifactWriter],
    "and so do those of members": [FrozenGuard, MemberRuns],
    "the position is translated before it is read": [GlobalBatch, Preemption],
}


@pytest.fixture(scope="module")
def positions() -> dict[type[Callback], int]:
    """The place of each callback in a Trainer that has them as a training has."""
    own = [BestCheckpoint(), Preemption(), BadFiles(), LossGuard()]
    # as Lightning's command line hands them over
    given = [*own, *callbacks()]
    trainer = Trainer(
        accelerator="cpu",
        callbacks=given,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return {
        type(kept): place for place, kept in enumerate(vars(trainer)["callbacks"])
    }


@pytest.mark.parametrize("why", ORDERS)
def test_what_needs_another_comes_behind_it(
    why: str, positions: dict[type[Callback], int]
) -> None:
    earlier, later = ORDERS[why]
    assert positions[earlier] < positions[later]


def test_none_is_there_twice() -> None:
    for one, other in combinations(callbacks(), 2):
        assert type(one) is not type(other)
