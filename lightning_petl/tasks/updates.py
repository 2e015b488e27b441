"""Tell what a Trainer's length, batches and ranks mean for the optimizer."""

from typing import NamedTuple

from lightning.pytorch import Trainer

from lightning_petl.optim.optimizer import OptimizerConfig, accumulation


class Updates(NamedTuple):
    """Hold the optimizer updates of a whole training.

    Attributes:
        steps: how many.
        epochs: in so many epochs.
        passes: micro batches of one update, on each rank.
        per_epoch: updates of an epoch; the last may have fewer passes.
        clips: of one update, over all ranks; None where the data module has no ``batch_size``.
        ranks: how many processes.
    """

    steps: int
    epochs: float
    passes: int
    per_epoch: int
    clips: int | None
    ranks: int

    @classmethod
    def of(cls, trainer: Trainer) -> "Updates":
        """Return those that ``trainer`` is about to make.

        Raises:
            ValueError: a training without end.
        """
        steps = trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ValueError(
                "the length of training is unknown: set trainer.max_epochs or trainer.max_steps"
            )
        # with max_steps alone the Trainer does not know its epochs yet
        trainer.fit_loop.setup_data()
        passes = trainer.accumulate_grad_batches
        batches = int(trainer.num_training_batches)
        micro = _micro_batch(trainer)
        clips = None if micro is None else micro * trainer.world_size * passes
        return cls(
            steps=int(steps),
            epochs=steps * passes / batches,
            passes=passes,
            # rounded up: Lightning steps at the end of an epoch, too
            per_epoch=-(-batches // passes),
            clips=clips,
            ranks=trainer.world_size,
        )

    def rate(self, optim: OptimizerConfig) -> float:
        """Return the learning rate of ``optim`` for updates of this size.

        Raises:
            ValueError: it scales with the batch, whose size is not known.
        """
        if optim.lr_per is None:
            return optim.lr
        return optim.rate(_known(self.clips))

    def told(self, optim: OptimizerConfig) -> str:
        """Return learning rate and size of an update, for the user."""
        scaled = f" ({optim.lr:g} per {optim.lr_per} clips)" if optim.lr_per else ""
        return f"learning rate {self.rate(optim):g}{scaled}; an update is {self.ranks} rank(s) x {self.passes} passes"


def accumulate(trainer: Trainer, global_batch: int | None) -> None:
    """Let ``trainer`` accumulate gradients as far as ``global_batch`` asks for.

    Raises:
        ValueError: that is no whole number of passes, or not what ``accumulate_grad_batches`` says.
    """
    if global_batch is None:
        return
    micro = _known(_micro_batch(trainer))
    steps = accumulation(global_batch, ranks=trainer.world_size, micro=micro)
    given = trainer.accumulate_grad_batches
    if given not in (1, steps):
        raise ValueError(
            f"global_batch asks for {steps} accumulated passes, accumulate_grad_batches is {given}"
        )
    trainer.accumulate_grad_batches = steps


def _micro_batch(trainer: Trainer) -> int | None:
    return getattr(getattr(trainer, "datamodule", None), "batch_size", None)


def _known(clips: int | None) -> int:
    if clips is None:
        raise ValueError(
            "global_batch and lr_per need a data module that has a batch_size"
        )
    return clips
