"""Tell one line an epoch, on the screen and in a file: a log that is no terminal has no progress bar."""

import math
import time
from datetime import datetime
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

from lightning_petl.distributed.collectives import rank_count, sum_over_ranks
from lightning_petl.runs.folder import run_folder

LINES = "epochs.txt"


class EpochLines(Callback):
    """Print a line after each epoch, and after each validation within one; append it to ``epochs.txt``.

    Example: ``epoch 3/12 | update 90/360 | train loss 1.234 | val loss 1.1, top1 0.5123 | 35 clips/s | 12 min left``.

    The training loss is the mean over this epoch so far and over all ranks, without losses that are no
    numbers. The time left is that of the updates to come at the pace of this start, validation included. A
    resume appends to the same file. This callback must come behind those whose values it tells.
    """

    def __init__(self) -> None:
        # the sum of the losses of this rank in this epoch, and their number
        self._losses = torch.zeros(2)
        # the metrics of the last validation of this epoch
        self._validated: dict[str, float] = {}
        # when this start began to train, seconds, and at which update
        self._began = 0.0
        self._first = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic()
        self._first = trainer.global_step
        self._losses = self._losses.to(pl_module.device)
        how = "goes on" if trainer.global_step else "begins"
        update = _of(trainer.global_step, trainer.estimated_stepping_batches)
        _tell(trainer, f"training {how} | update {update}")

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._losses += _sum_and_number(outputs, trainer.accumulate_grad_batches)

    @override
    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validated = {}
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/"):
                self._validated[name.removeprefix("val/")] = float(value)
        # behind the last batch the end of the epoch follows, which tells it
        if not trainer.is_last_batch:
            self._tell_line(trainer)

    @override
    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        self._tell_line(trainer)
        self._losses.zero_()
        self._validated = {}

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the losses of all ranks. All ranks must call it, as they do in ``Trainer.save_checkpoint``."""
        return {"losses": sum_over_ranks(self._losses.clone()).tolist()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # the next checkpoint adds up the losses of all ranks, so that each takes an equal part
        self._losses = torch.tensor(state_dict["losses"]) / rank_count()

    def _tell_line(self, trainer: Trainer) -> None:
        """Tell where training is. All ranks must call it, for they add up their losses."""
        losses = trainer.strategy.reduce(self._losses.clone(), reduce_op="sum")
        total, number = losses.tolist()
        parts = [
            f"epoch {_of(trainer.current_epoch + 1, trainer.max_epochs or -1)}",
            f"update {_of(trainer.global_step, trainer.estimated_stepping_batches)}",
        ]
        if number:
            parts.append(f"train loss {total / number:.4g}")
        if self._validated:
            found = [
                f"{name} {value:.4g}" for name, value in self._validated.items()
            ]
            parts.append(f"val {', '.join(found)}")
        rate = trainer.callback_metrics.get("cost/clips_per_s")
        if rate is not None:
            parts.append(f"{float(rate):.3g} clips/s")
        left = self._time_left(trainer)
        if left:
            parts.append(left)
        _tell(trainer, " | ".join(parts))

    def _time_left(self, trainer: Trainer) -> str:
        """Return the time left in words, nothing where that is not known."""
        done = trainer.global_step - self._first
        to_come = trainer.estimated_stepping_batches - trainer.global_step
        if done == 0 or not 0 < to_come < math.inf:
            return ""
        seconds = (time.monotonic() - self._began) / done * to_come
        return f"{duration(seconds)} left"


def duration(seconds: int | float) -> str:
    """Return seconds in words; ``duration(4000)`` is ``"1 h 07 min"``."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _sum_and_number(outputs: Any, passes: int) -> Tensor:
    """Return the sum and the number of the losses of a training step that are numbers.

    There is one loss, or in a bank one of each member.
    """
    if isinstance(outputs, Tensor):
        outputs = {"loss": outputs}
    # Lightning has divided the loss by the number of passes of its update
    losses: Tensor = outputs.get("losses", outputs["loss"].detach() * passes)
    finite = losses.isfinite()
    total = losses.where(finite, 0.0).sum()
    return torch.stack([total.float(), finite.sum().float()])


def _of(number: int, whole: int | float) -> str:
    return f"{number}/{whole:.0f}" if 0 < whole < math.inf else f"{number}"


def _tell(trainer: Trainer, line: str) -> None:
    if not trainer.is_global_zero:
        return
    print(line, flush=True)
    folder = run_folder(trainer)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LINES).open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")
