"""Keep the clips of every update in a resume on another number of ranks, or refuse it."""

from math import ceil
from typing import Any, NamedTuple, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override


class UpdateSplit(NamedTuple):
    """Say how the clips of an update are split over ranks and passes.

    An update of 8 clips on 2 ranks in 2 passes of 2 clips::

        pass 0   rank 0: clips 0 1    rank 1: clips 2 3
        pass 1   rank 0: clips 4 5    rank 1: clips 6 7

    Attributes:
        ranks: number of processes.
        passes: accumulated on each rank.
        size: clips of one pass of one rank.
        batches: passes of an epoch on each rank.
    """

    ranks: int
    passes: int
    size: int
    batches: int

    @property
    def clips(self) -> int:
        """Return the number of clips of one update."""
        return self.ranks * self.passes * self.size

    def told(self) -> str:
        """Return the split as text for a message."""
        return f"{self.clips} clips ({self.ranks} ranks x {self.passes} passes x {self.size})"


class GlobalBatch(Callback):
    """Translate the position in an epoch where ranks, passes or batch size changed, but not their product.

    Update u of an epoch is clips [uG, (u + 1)G) of its order, with G clips an update. Only the rest at the
    end of an epoch, fewer than G clips, may be split differently. It must come before callbacks that use
    the position. With G = 8, after 3 updates::

        before: 2 ranks x 2 passes x 2 clips   6 passes done on each rank
        now:    1 rank  x 2 passes x 4 clips   6 passes done
        now:    4 ranks x 1 pass   x 2 clips   3 passes done on each rank

    Raises:
        ValueError: an update would have other clips.
    """

    @override
    def on_save_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        checkpoint["share"] = list(_split_of(trainer))

    @override
    def on_load_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        if "share" not in checkpoint or not trainer.training:
            return
        before = UpdateSplit(*checkpoint["share"])
        now = _split_of(trainer)
        if before.clips != now.clips:
            raise ValueError(
                f"an update was {before.told()}, now {now.told()}: set model.optim.global_batch={before.clips}, or the "
                "batch size, back; to train on with other updates, start a new run"
            )
        if before == now:
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        _translate(progress, before, now)
        data = cast(Any, trainer).datamodule
        order = checkpoint.get(type(data).__qualname__)
        if order:
            # once more: Lightning has loaded it already, with the clips of a pass of before
            data.load_state_dict(order | {"global_batch": now.ranks * now.size})


def _split_of(trainer: Trainer) -> UpdateSplit:
    size = getattr(cast(Any, trainer).datamodule, "batch_size", 1)
    # the number of batches is not known before
    trainer.fit_loop.setup_data()
    return UpdateSplit(
        trainer.world_size,
        trainer.accumulate_grad_batches,
        size,
        int(trainer.num_training_batches),
    )


def _translate(
    progress: dict[str, Any], before: UpdateSplit, now: UpdateSplit
) -> None:
    """Count the batches of Lightning's progress in passes of ``now``, in place.

    ``current`` counts the batches of this epoch, ``total`` those of all. Each has counters of batches that
    were made ready, started, processed and completed.
    """
    total = progress["total"]
    current = progress["current"]
    epochs = ceil((total["completed"] - current["completed"]) / before.batches)
    # a checkpoint of the hook of a batch has counted it as ready, but not yet as completed
    ahead: dict[str, int] = {}
    for name, count in current.items():
        ahead[name] = count - current["completed"]
    if progress["is_last_batch"]:
        ready = now.batches
    else:
        clips = current["ready"] * before.ranks * before.size
        ready = clips // (now.ranks * now.size)
    completed = ready - ahead["ready"]
    for name, more in ahead.items():
        current[name] = completed + more
        total[name] = epochs * now.batches + completed + more
