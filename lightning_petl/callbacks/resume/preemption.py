"""Stop a run where a signal asks for it, and keep ``last.ckpt`` up to date."""

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
    """End the program, with exit code 75 on rank 0 and 0 on the others.

    The code of rank 0 is that of the run. A rank that ends with another code than 0 counts as lost, see
    :class:`~lightning_petl.callbacks.guards.ranks.Ranks`.
    """


class Preemption(Checkpoint):
    """Write ``last.ckpt``; end the program with exit code 75 where SIGUSR1 or SIGTERM came to any rank.

    The file is written after each epoch and each validation, every ``every_n_steps`` updates, and before
    the program ends for a signal: at the end of an update, where all ranks agree. A signal during
    validation ends it at the next batch; after a resume that validation starts again. This callback must
    come behind all others, so that their state is saved.

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
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        if isinstance(trainer.logger, RunLogger):
            _require_same(trainer, trainer.logger.row.step)

    @override
    def on_load_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        if not trainer.training or not isinstance(trainer.logger, RunLogger):
            return
        if checkpoint.get("run") == trainer.logger.run:
            _follow(trainer, checkpoint["callbacks"])

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # again in every loop: Lightning 2.6 installs handlers of its own before it
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
        # private in Lightning 2.6: whether the next pass belongs to this update, whose gradients no checkpoint has
        if trainer.fit_loop._should_accumulate():  # pyright: ignore[reportPrivateUsage]
            return
        stop = self._agreed(trainer)
        # a resume from a checkpoint of now would leave out the validation, or the end of the epoch, that follows
        if _validates_now(trainer) or trainer.is_last_batch:
            return
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
    def on_validation_start(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
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
        # a collective for each batch: all ranks make the same number of steps
        if self._agreed(trainer):
            if _trains(trainer):
                _repeat_validation(trainer, pl_module)
                self._write(trainer)
            self._leave(trainer)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # pyright: ignore[reportAssignmentType]

    @override
    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        # behind the last batch on_train_epoch_end follows, which does the same
        if _trains(trainer) and not trainer.is_last_batch:
            self._agreed(trainer)
            self._write(trainer)
            self._leave(trainer)

    @override
    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        self._agreed(trainer)
        self._write(trainer)
        self._leave(trainer)

    @override
    def on_save_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        logger = trainer.logger
        if not isinstance(logger, RunLogger):
            return
        loggers = trainer.loggers
        # Lightning logs this step once more after the callbacks: RunLogger drops that, other loggers would not
        trainer.loggers = loggers[:1]
        _log_this_step(trainer)
        trainer.loggers = loggers
        # the events of this step must be on the disk before the checkpoint that says so
        logger.flush()
        checkpoint["run"] = logger.run
        checkpoint["row"] = [logger.row.step, dict(logger.row.values)]

    def _agreed(self, trainer: Trainer) -> bool:
        """Return whether a signal came to any rank. All ranks must call it."""
        if not self._stop:
            request = current_request()
            received = request is not None and request.received is not None
            self._stop = trainer.strategy.reduce_boolean_decision(
                received, all=False
            )
            if self._stop:
                # a second signal must not end the process while it writes the checkpoint
                StopRequest.ignore()
        return self._stop

    def _write(self, trainer: Trainer) -> None:
        if cast(Any, trainer).fast_dev_run:
            return
        path = run_folder(trainer) / CHECKPOINTS / LAST
        trainer.save_checkpoint(path, weights_only=False)
        self._written = trainer.global_step

    def _leave(self, trainer: Trainer) -> None:
        if not self._stop:
            return
        saved = ""
        if self._written >= 0:
            saved = f"; {LAST} is written and the same command goes on"
        rank_zero_info(
            f"a signal asked to stop: after update {trainer.global_step}{saved}; exit code {PREEMPTED}"
        )
        raise Preempted(PREEMPTED if trainer.is_global_zero else 0)


def _listen() -> None:
    request = current_request()
    if request is not None:
        request.listen()


def _require_same(trainer: Trainer, step: int) -> None:
    """Refuse ranks that resume from different steps. All ranks must call it.

    One that resumes elsewhere would wait for ever, or train other weights than the others.

    Raises:
        ValueError: this step is not that of rank 0; the error is raised on all ranks.
    """
    first = trainer.strategy.broadcast(step)
    if not trainer.strategy.reduce_boolean_decision(step == first):
        raise ValueError(
            f"run_folder: {run_folder(trainer)} holds other checkpoints on this rank than on "
            "another: give a folder on a file system that all machines share"
        )


def _follow(trainer: Trainer, states: dict[str, Any]) -> None:
    """Correct the paths of the best checkpoints, in place, where the run folder was moved or renamed."""
    for callback in trainer.checkpoint_callbacks:
        state = states.get(callback.state_key)
        if isinstance(callback, ModelCheckpoint) and state:
            before = str(state["dirpath"])
            moved = _moved(state, before, str(callback.dirpath))
            states[callback.state_key] = moved


def _moved(value: Any, before: str, now: str) -> Any:
    """Return a value with another beginning of each path in it; ``best_k_models`` has paths as keys."""
    if isinstance(value, dict):
        moved: dict[Any, Any] = {}
        for key, item in value.items():
            moved[_moved(key, before, now)] = _moved(item, before, now)
        return moved
    if isinstance(value, str) and value.startswith(before):
        return now + value.removeprefix(before)
    return value


def _trains(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _validates_now(trainer: Trainer) -> bool:
    # private in Lightning 2.6, which asks it right after the hooks of a batch and has no public way to ask
    loop = trainer.fit_loop
    fetcher = cast(Any, loop._data_fetcher)  # pyright: ignore[reportPrivateUsage]
    return loop.epoch_loop._should_check_val_fx(fetcher)  # pyright: ignore[reportPrivateUsage]


def _repeat_validation(trainer: Trainer, module: LightningModule) -> None:
    """Rewind Lightning's validation progress to batch 0, so that a resume repeats the whole validation."""
    for callback in cast(list[Any], cast(Any, trainer).callbacks):
        if isinstance(callback, EMA):
            # in validation the module holds the averages, but the checkpoint needs the weights
            callback.on_validation_end(trainer, module)
    # Lightning 2.6 resumes a validation in which one batch less is processed than started
    progress: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.current.completed = 0
    progress.total.processed -= 1


def _log_this_step(trainer: Trainer) -> None:
    """Log the metrics of this step, which Lightning logs only after the callbacks.

    The checkpoint is saved in a callback, and a resume would miss them. The counters of Lightning tell
    where it is: in the hook of a batch or an epoch, that is processed but not completed.
    """
    loop = trainer.fit_loop
    # private in Lightning 2.6: nothing public logs the metrics that hooks have collected
    connector = trainer._logger_connector  # pyright: ignore[reportPrivateUsage]
    batches: Any = loop.epoch_loop.batch_progress.current
    epochs: Any = loop.epoch_progress.current
    if batches.processed > batches.completed:
        connector.update_train_step_metrics()
    elif epochs.processed > epochs.completed:
        # Lightning logs the metrics of an epoch under the step of its last update, counted from 0
        step = loop.epoch_loop._batches_that_stepped - 1  # pyright: ignore[reportPrivateUsage]
        connector.log_metrics(connector.metrics["log"], step=step)
