"""Tell every file that could not be read, and stop a training that has too many of them."""

from math import ceil
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from data_modules.batch import VideoBatch
from lightning_petl.distributed.collectives import any_rank, union_over_ranks

# clips that any budget above 0 allows to fail, in a set that is large enough
_FEW = 3


class BadFiles(Callback):
    """Count the clips that cannot be read, in whose place training takes others.

    Each file is told once, at the end of the update in which any rank meets it. All ranks stop together
    above the budget. ``data/bad_files`` is the number of different files so far, over all ranks, logged
    after each epoch. After an evaluation the files that count as wrong are told.

    Args:
        budget: largest part of the training clips that may fail, 0 to 1; above it training stops and
            names them. Where it rounds to none, a few may fail all the same, see :meth:`allowed`; 0
            allows none.

    Raises:
        ValueError: a budget outside [0, 1]; later, more failures than it allows.
    """

    def __init__(self, budget: float = 0.001) -> None:
        if not 0 <= budget <= 1:
            raise ValueError(
                f"bad_files.budget: expected a part from 0 to 1, got {budget}"
            )
        self.budget = budget
        self._trained: set[str] = set()
        # on this rank, in this update
        self._met: set[str] = set()
        self._evaluated: set[str] = set()

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        self._met |= _faults(batch) - self._trained
        # private in Lightning 2.6: whether the next pass belongs to this update. Ranks agree once an update,
        # because a collective after each pass would make them wait for the slowest.
        if not trainer.fit_loop._should_accumulate():  # pyright: ignore[reportPrivateUsage]
            self._agree(trainer, pl_module)

    @override
    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        # the limit of time (``max_time``) may end an epoch in the middle of an update
        if trainer.fit_loop._should_accumulate():  # pyright: ignore[reportPrivateUsage]
            self._agree(trainer, pl_module)
        # the number is the same on all ranks; Lightning warns without sync_dist
        count = float(len(self._trained))
        pl_module.log("data/bad_files", count, sync_dist=True, reduce_fx="max")

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._evaluated |= _faults(batch)

    @override
    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        faults = sorted(union_over_ranks(self._evaluated))
        self._evaluated = set()
        if faults:
            rank_zero_warn(
                f"{len(faults)} video(s) could not be read and count as wrong: {'; '.join(faults)}"
            )

    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what failed so far, on any rank."""
        return {"trained": sorted(self._trained)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._trained = set(state_dict["trained"])

    def allowed(self, clips: int) -> int:
        """Return how many of ``clips`` training clips may fail.

        A part of a small set rounds to none, and one bad file should not stop a run: a budget above 0 allows at least
        3 clips, or a quarter of a set of fewer than 12. With 0.001 that is 2 of 8 clips, 3 of 500 and 10 of 10,000.
        """
        if not self.budget:
            return 0
        return max(int(self.budget * clips), min(_FEW, ceil(clips / 4)))

    def _agree(self, trainer: Trainer, module: LightningModule) -> None:
        """Collect the files that any rank could not read. All ranks must call it."""
        # one integer first: almost always no rank has met any
        if any_rank(bool(self._met), module.device):
            self._add(trainer, union_over_ranks(self._met))
        self._met = set()

    def _add(self, trainer: Trainer, faults: set[str]) -> None:
        for fault in sorted(faults - self._trained):
            rank_zero_warn(f"{fault}; another clip stands in")
        self._trained |= faults
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        clips = len(trainer.train_dataloader.dataset)  # pyright: ignore[reportOptionalMemberAccess]
        if len(self._trained) > self.allowed(clips):
            raise ValueError(
                f"{len(self._trained)} of {clips} training clips could not be read, more than bad_files.budget="
                f"{self.budget} allows: {'; '.join(sorted(self._trained))}"
            )


def _faults(batch: VideoBatch) -> set[str]:
    return {fault for fault in batch.fault if fault}
