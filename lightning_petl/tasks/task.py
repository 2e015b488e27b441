"""Hold what every task shares: a frozen trunk, owners of what trains, one optimizer, checkpoints of what trains."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from lightning_petl.backbones.reachability import unreachable
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trainable_state import (
    check_trainable,
    trainable_state,
)
from lightning_petl.checkpoints.trunk_id import TrunkId
from lightning_petl.distributed.collectives import any_rank, union_over_ranks
from lightning_petl.distributed.sharding import materialize, shard
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.optim.schedule import ScheduledRates
from lightning_petl.strategies.precision import resolve_precision
from lightning_petl.tasks.updates import Updates, accumulate

STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class Task(LightningModule):
    """Train a model over a frozen trunk. A subclass builds its parts, then calls :meth:`begin`.

    Attributes:
        backbone: the trunk, with its adapters.
        optim: how the parameters are updated.
        labels: class names by index; none where the task has no classes.
        fits_any_labels: trained weights can be evaluated with other classes.
        best_by: the metric of validation that tells which weights are best: the larger, the better.
        reads_features: a cache of features can stand in the place of videos.
        silent: no output of the last validation was a number, so that its metrics say nothing; the same on all ranks.
    """

    backbone: VideoViT
    optim: OptimizerConfig
    labels: tuple[str, ...] = ()
    fits_any_labels: bool = False
    silent: bool
    best_by: ClassVar[str] = "val/top1"
    reads_features: ClassVar[bool] = True

    @property
    @abstractmethod
    def owners(self) -> dict[str, str]:
        """Return the owner of each trainable parameter."""

    @property
    def unreachable(self) -> set[str]:
        """Trainable parameters that the adapters declare to have no path to the read-out."""
        return {f"backbone.{name}" for name in unreachable(self.backbone)}

    @property
    def trunk(self) -> TrunkId:
        """Return name and hash of the trunk that the trainable state was trained on."""
        return TrunkId(self.backbone.name, self.backbone.weights_hash)

    def begin(self) -> None:
        """Set the mode of all parts, once they are built."""
        # the Trainer does not call it, and the frozen trunk must be in eval
        self.train()
        # a checkpoint holds no frozen weights; on_load_checkpoint is strict on the rest
        self.strict_loading = False
        self._no_numbers = set[str]()
        self.silent = False

    def setup(self, stage: str) -> None:
        """Accumulate gradients as far as the global batch asks for.

        Raises:
            ValueError: the batches do not go up.
        """
        if stage == "fit":
            accumulate(self.trainer, self.optim.global_batch)

    def configure_model(self) -> None:
        """Keep this rank's share of each block and reader alone, where the strategy is FSDP2.

        Raises:
            ValueError: a precision that is not one of :data:`~lightning_petl.strategies.precision.PRECISIONS`.
        """
        resolve_precision(self.trainer.precision)
        if self.device_mesh is not None:
            shard(self, self.device_mesh["data_parallel"], STEPS)
        materialize(self.backbone, self.device)

    def require_numbers(self, clips: Iterable[str]) -> None:
        """Refuse outputs that are no numbers (NaN or infinite); the validation of a training only notes them.

        All ranks must call it in each step of an evaluation, with the names of the clips that have such outputs.

        Raises:
            ValueError: outside a training, on all ranks, where any rank names a clip.
        """
        self._no_numbers.update(clips)
        found = any_rank(bool(self._no_numbers), self.device)
        if found and not self.only_notes_no_numbers:
            names = sorted(union_over_ranks(self._no_numbers))
            raise ValueError(
                f"the outputs for {names[0]} are no numbers (NaN or infinite): the model has diverged, or computes "
                "beyond the range of its numbers; take another checkpoint, or --trainer.precision=32-true"
            )

    @property
    def only_notes_no_numbers(self) -> bool:
        """Return whether outputs that are no numbers count as wrong and are told, rather than end the command."""
        return self.is_training_run

    @property
    def is_training_run(self) -> bool:
        """Return whether the command is ``fit``, its validation included."""
        return (
            self._trainer is not None
            and self._trainer.state.fn == TrainerFn.FITTING
        )

    def on_validation_epoch_end(self) -> None:
        """Tell which clips of all ranks have outputs that are no numbers. All ranks must call it."""
        names = sorted(union_over_ranks(self._no_numbers))
        self._no_numbers = set()
        if names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            rank_zero_warn(
                f"the outputs for {len(names)} clip(s) are no numbers and count as wrong: {shown}"
            )

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> Any:
        updates = Updates.of(self.trainer)
        rate = updates.rate(self.optim)
        parameters = dict(self.named_parameters())
        optimizer = self.optim.optimizer(parameters, self.owners, rate)
        factor = self.optim.schedule.factor(updates.steps, updates.epochs)
        scheduler = ScheduledRates(optimizer, factor, self.print)
        self.print(updates.told(self.optim))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": scheduler,
                "interval": self.optim.schedule.per,
            },
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = trainable_state(self)
        checkpoint["trunk"] = list(self.trunk)
        checkpoint["labels"] = list(self.labels)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "trunk" not in checkpoint:
            raise ValueError(
                "not a training state of this program: it does not say which trunk it was trained on"
            )
        TrunkId(*checkpoint["trunk"]).require(self.trunk)
        # before weights are compared, whose sizes would often differ, too
        # a training goes on as it began, whatever its head can do
        if self.is_training_run or not self.fits_any_labels:
            require_labels(checkpoint["labels"], self.labels, "the checkpoint")
        check_trainable(self, checkpoint["state_dict"])


def require_labels(
    trained: Sequence[str], wanted: Sequence[str], source: str
) -> None:
    """Refuse weights whose classes are not those of the data.

    Args:
        trained: the classes of the weights.
        wanted: those of the data.
        source: what holds the weights, as the message names it.

    Raises:
        ValueError: so it is.
    """
    if list(trained) == list(wanted):
        return
    raise ValueError(
        f"{source} was trained on other labels, {_counted(trained)}, and the data have {_counted(wanted)}: its head "
        "knows those alone that it was trained on; take the same data.classes as in training, or train a TextHead with "
        "tuned: false, which reads the names of any classes"
    )


def _counted(labels: Sequence[str]) -> str:
    dots = ", ..." if len(labels) > 3 else ""
    return f"{len(labels)} ({', '.join(labels[:3])}{dots})"
