"""Stops a run where a signal asks for it, and keeps ``last.ckpt`` up to date."""

from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_petl.callbacks.ema import EMA
from lightning_petl.runs.folder import CHECKPOINTS, LAST, run_folder
from lightning_petl.runs.logger import RunLogger
from lightning_petl.runs.signals import PREEMPTED, StopRequest, current_request


class Preempted(SystemExit):
    """Ends the program; its code is 75 on rank zero, which decides."""


class Preemption(Checkpoint):
    """Writes ``last.ckpt`` and, where SIGUSR1 or SIGTERM came to any rank, ends the program with exit code 75.

    The file is written after each epoch and each validation, every ``every_n_steps`` updates, and before the program
    ends for a signal: at the end of an update, where all ranks agree. A signal during validation ends it
    at the next batch; that validation starts again. It comes behind all other callbacks, so that their state is saved.

    Args:
        every_n_steps: updates between two checkpoints within an epoch.

    Raises:
        ValueError: fewer than one update; ranks that do not see the same checkpoints.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(
                f"preemption.every_n_steps: expected 1 or more, got {every_n_steps}"
            )
        self.every_n_steps = every_n_steps
        self._stop = False
        self._written = -1

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if isinstance(trainer.logger, RunLogger):
            _require_same(trainer, trainer.logger.row.step)

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if (
            trainer.training
            and isinstance(trainer.logger, RunLogger)
            and checkpoint.get("run") == trainer.logger.run
        ):
            _follow(trainer, checkpoint["callbacks"])

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _listen()

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.fit_loop._should_accumulate():  # pyright: ignore[reportPrivateUsage]  # gradients are not saved
            return
        stop = self._agreed(trainer)
        if _validates_now(trainer) or trainer.is_last_batch:
            return  # a checkpoint of now would go on behind the validation and the end of the epoch
        if stop or (
            self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        ):
            self._write(trainer)
        self._leave(trainer)

    @override
    def on_sanity_check_start(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        _listen()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _listen()

    on_test_start = on_predict_start = on_validation_start

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._agreed(trainer):  # all ranks make the same number of steps
            if _trains(trainer):
                _repeat_validation(trainer, pl_module)
                self._write(trainer)
            self._leave(trainer)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # pyright: ignore[reportAssignmentType]

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (
            _trains(trainer) and not trainer.is_last_batch
        ):  # else the end of the epoch follows
            self._agreed(trainer)
            self._write(trainer)
            self._leave(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreed(trainer)
        self._write(trainer)
        self._leave(trainer)

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if isinstance(trainer.logger, RunLogger):
            loggers, trainer.loggers = (
                trainer.loggers,
                trainer.loggers[:1],
            )  # others would keep what comes twice
            _log_this_step(trainer)
            trainer.loggers = loggers
            trainer.logger.flush()
            row = trainer.logger.row
            checkpoint["run"], checkpoint["row"] = (
                trainer.logger.run,
                [row.step, dict(row.values)],
            )

    def _agreed(self, trainer: Trainer) -> bool:
        """Whether a signal came to any rank; all ranks must ask."""
        if not self._stop:
            request = current_request()
            received = request is not None and request.received is not None
            self._stop = trainer.strategy.reduce_boolean_decision(received, all=False)
            if self._stop:
                StopRequest.ignore()
        return self._stop

    def _write(self, trainer: Trainer) -> None:
        if cast(Any, trainer).fast_dev_run:
            return
        trainer.save_checkpoint(
            run_folder(trainer) / CHECKPOINTS / LAST, weights_only=False
        )
        self._written = trainer.global_step

    def _leave(self, trainer: Trainer) -> None:
        if not self._stop:
            return
        saved = (
            f"; {LAST} is written and the same command goes on"
            if self._written >= 0
            else ""
        )
        rank_zero_info(
            f"a signal asked to stop: after update {trainer.global_step}{saved}; exit code {PREEMPTED}"
        )
        raise Preempted(PREEMPTED if trainer.is_global_zero else 0)


def _listen() -> None:
    request = current_request()
    if request is not None:
        request.listen()


def _require_same(trainer: Trainer, step: int) -> None:
    """Of all ranks: one that goes on elsewhere would wait for ever, or spoil what the others know."""
    first = trainer.strategy.broadcast(step)
    if not trainer.strategy.reduce_boolean_decision(step == first):
        raise ValueError(
            f"run_folder: {run_folder(trainer)} holds other checkpoints on this rank than on "
            "another: give a folder on a file system that all machines share"
        )


def _follow(trainer: Trainer, states: dict[str, Any]) -> None:
    """Let the best checkpoints be where the folder is now, which may have been moved or be spelt differently."""
    for callback in trainer.checkpoint_callbacks:
        state = states.get(callback.state_key)
        if isinstance(callback, ModelCheckpoint) and state:
            states[callback.state_key] = _moved(
                state, str(state["dirpath"]), str(callback.dirpath)
            )


def _moved(value: Any, before: str, now: str) -> Any:
    if isinstance(value, dict):
        return {
            _moved(key, before, now): _moved(item, before, now)
            for key, item in value.items()
        }
    return (
        now + value.removeprefix(before)
        if isinstance(value, str) and value.startswith(before)
        else value
    )


def _trains(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _validates_now(trainer: Trainer) -> bool:
    loop = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(  # pyright: ignore[reportPrivateUsage]  # not told otherwise
        cast(Any, loop._data_fetcher)  # pyright: ignore[reportPrivateUsage]
    )


def _repeat_validation(trainer: Trainer, module: LightningModule) -> None:
    """Let a checkpoint of now say that validation stands before its first batch, which Lightning knows to resume."""
    for callback in cast(list[Any], cast(Any, trainer).callbacks):
        if isinstance(callback, EMA):
            callback.on_validation_end(
                trainer, module
            )  # averages are evaluated, weights are saved
    progress: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.current.completed = 0
    progress.total.processed -= 1


def _log_this_step(trainer: Trainer) -> None:
    """Log what Lightning logs only after the callbacks, where a checkpoint is saved in one; it comes once all the same.

    Its counters tell where it is: a batch, or an epoch, is processed but not completed there.
    """
    loop, connector = trainer.fit_loop, trainer._logger_connector  # pyright: ignore[reportPrivateUsage]
    batches: Any = loop.epoch_loop.batch_progress.current
    epochs: Any = loop.epoch_progress.current
    if batches.processed > batches.completed:
        connector.update_train_step_metrics()
    elif epochs.processed > epochs.completed:
        step = loop.epoch_loop._batches_that_stepped - 1  # pyright: ignore[reportPrivateUsage]
        connector.log_metrics(connector.metrics["log"], step=step)
