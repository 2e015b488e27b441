"""List the callbacks of every training in their order, with the reason of each place."""

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor

from lightning_petl.callbacks.cost.memory_check import MemoryCheck
from lightning_petl.callbacks.cost.ownership import Ownership
from lightning_petl.callbacks.cost.throughput import Throughput
from lightning_petl.callbacks.guards.frozen_guard import FrozenGuard
from lightning_petl.callbacks.guards.gradient_guard import GradientGuard
from lightning_petl.callbacks.guards.ranks import Ranks
from lightning_petl.callbacks.outputs.artifact_writer import ArtifactWriter
from lightning_petl.callbacks.outputs.epoch_lines import EpochLines
from lightning_petl.callbacks.outputs.member_runs import MemberRuns
from lightning_petl.callbacks.outputs.predictions import TestScores, TopClassTable
from lightning_petl.callbacks.outputs.retrieval_scores import RetrievalScores
from lightning_petl.callbacks.outputs.run_record import RunRecord
from lightning_petl.callbacks.resume.global_batch import GlobalBatch
from lightning_petl.callbacks.resume.random_state import RandomStates


def callbacks() -> list[Callback]:
    """Return the callbacks that every training has, in the order in which Lightning calls them.

    Lightning 2.6 puts them behind those of ``trainer.callbacks`` and those with keys of their own (``BadFiles``,
    ``LossGuard``), and moves checkpoint callbacks, such as ``Preemption``, behind all others.
    """
    return [
        # on_fit_start: the table of what trains is printed before a guard can stop the run
        Ownership(),
        # on_train_end: frozen weights are compared before ArtifactWriter writes
        GradientGuard(),
        FrozenGuard(),
        RandomStates(),
        # on_load_checkpoint: the position in the epoch is translated before Preemption reads it
        GlobalBatch(),
        Ranks(),
        # on_train_epoch_end: these log what EpochLines then repeats in one line
        LearningRateMonitor(),
        Throughput(),
        MemoryCheck(),
        EpochLines(),
        TestScores(),
        TopClassTable(),
        RetrievalScores(),
        RunRecord(),
        # on_train_end: artifacts are written when nothing refuses the run any more
        ArtifactWriter(),
        MemberRuns(),
    ]
