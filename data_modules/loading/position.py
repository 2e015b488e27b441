"""Where training stands in its epoch, as arithmetic on Lightning's own progress."""

from math import ceil

from lightning.pytorch import Trainer

from data_modules.loading.sampler import Order


class EpochPosition:
    """Compute the position of the next training batch, and check it after a resume.

    Attributes:
        saved: the order of the clips in the checkpoint that was loaded, if one was.
    """

    def __init__(self) -> None:
        self.saved: Order | None = None

    def of(self, trainer: Trainer, order: Order) -> tuple[int, int]:
        """Return (epoch, batches of it that are done).

        Epochs are counted from batches, because Lightning's own count is one too many
        after a resume from the end of an epoch under ``max_steps``. An epoch that was
        cut short counts as whole. With 100 batches an epoch::

            batches completed  of these in the current epoch  position
            0                  0                              (0, 0)
            130                30                             (1, 30)
            200                0                              (2, 0)

        Raises:
            ValueError: in the middle of an epoch, the checkpoint has another order.
        """
        batches = trainer.fit_loop.epoch_loop.batch_progress
        # Lightning counts a batch as ready only after it has fetched it, so that at the
        # first batch of an iteration `ready` is the number of those before it
        done = batches.current.ready
        earlier = batches.total.completed - batches.current.completed
        if done and self.saved not in (None, order):
            raise ValueError(
                f"resuming after batch {done} of an epoch needs the order of the "
                "checkpoint: it has "
                f"{self.saved}, now {order}; set these back, or start from the "
                "end of an epoch"
            )
        return ceil(earlier / trainer.num_training_batches), done
