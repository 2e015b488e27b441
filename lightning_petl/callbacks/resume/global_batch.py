"""A resume on another number of ranks keeps the clips of every update, or is refused."""

from math import ceil
from typing import Any, NamedTuple, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override


class UpdateSplit(NamedTuple):
    """How the clips of an update are shared out.

    Attributes:
        ranks: processes.
        passes: accumulated on each.
        size: clips of one pass of one rank.
        batches: passes of an epoch.
    """

    ranks: int
    passes: int
    size: int
    batches: int

    @property
    def clips(self) -> int:
        """Of one update."""
        return self.ranks * self.passes * self.size

    def told(self) -> str:
        """For the user."""
        return f"{self.clips} clips ({self.ranks} ranks x {self.passes} passes x {self.size})"


class GlobalBatch(Callback):
    """Translates the position in an epoch where ranks, passes or the batch of a rank changed, but not their product.

    Update u of an epoch is clips [uG, (u + 1)G) of its order, G clips an update. Only what is left at the end of an
    epoch, fewer than G clips, may fall otherwise. It comes before what uses the position.

    Raises:
        ValueError: an update would have other clips.
    """

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["share"] = list(_split_of(trainer))

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if "share" not in checkpoint or not trainer.training:
            return
        before, now = UpdateSplit(*checkpoint["share"]), _split_of(trainer)
        if before.clips != now.clips:
            raise ValueError(
                f"an update was {before.told()}, now {now.told()}: set model.optim.global_batch={before.clips}, or the "
                "batch size, back; to train on with other updates, start a new run"
            )
        if before != now:
            _translate(
                checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"],
                before,
                now,
            )
            data = cast(Any, trainer).datamodule
            order = checkpoint.get(type(data).__qualname__)
            if order:
                data.load_state_dict(order | {"global_batch": now.ranks * now.size})


def _split_of(trainer: Trainer) -> UpdateSplit:
    size = getattr(cast(Any, trainer).datamodule, "batch_size", 1)
    trainer.fit_loop.setup_data()  # the number of batches is not known before
    return UpdateSplit(
        trainer.world_size,
        trainer.accumulate_grad_batches,
        size,
        int(trainer.num_training_batches),
    )


def _translate(progress: dict[str, Any], before: UpdateSplit, now: UpdateSplit) -> None:
    """Count the batches that are done in passes of ``now``."""
    total, current = progress["total"], progress["current"]
    epochs = ceil((total["completed"] - current["completed"]) / before.batches)
    behind = {
        name: current[name] - current["completed"] for name in current
    }  # in the hook of a batch it is not done
    done = (
        now.batches
        if progress["is_last_batch"]
        else current["ready"] * before.ranks * before.size
    )
    done = done if progress["is_last_batch"] else done // (now.ranks * now.size)
    completed = done - behind["ready"]
    for name in current:
        current[name] = completed + behind[name]
        total[name] = epochs * now.batches + completed + behind[name]
