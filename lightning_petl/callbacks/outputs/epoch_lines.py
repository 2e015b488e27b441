"""One line an epoch, on the screen and in a file: a log that is no terminal has no progress bar."""

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
    """Prints a line after each epoch, and after each validation within one; ``epochs.txt`` of the run gets it, too.

    Example: ``epoch 3/12 | update 90/360 | train loss 1.234 | val loss 1.1, top1 0.5123 | 35 clips/s | 12 min left``.

    The training loss is the mean over this epoch so far and over all ranks, apart from losses that are no numbers. The
    time left is that of the updates to come at the pace of this start, validation included. A resume goes on in the
    file. It comes behind the callbacks whose values it tells.
    """

    def __init__(self) -> None:
        self._losses = torch.zeros(
            2
        )  # their sum in this epoch on this rank, and their number
        self._validated: dict[str, float] = {}  # what validation found in this epoch
        self._began = 0.0  # when this start began to train, seconds
        self._first = 0  # the update at which it began

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic()
        self._first = trainer.global_step
        self._losses = self._losses.to(pl_module.device)
        how = "goes on" if trainer.global_step else "begins"
        _tell(
            trainer,
            f"training {how} | update {_of(trainer.global_step, trainer.estimated_stepping_batches)}",
        )

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
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        found = trainer.callback_metrics.items()
        self._validated = {
            name.removeprefix("val/"): float(value)
            for name, value in found
            if name.startswith("val/")
        }
        if not trainer.is_last_batch:  # else the end of the epoch follows
            self._tell_line(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
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
        total, number = trainer.strategy.reduce(
            self._losses.clone(), reduce_op="sum"
        ).tolist()
        rate = trainer.callback_metrics.get("cost/clips_per_s")
        validated = ", ".join(
            f"{name} {value:.4g}" for name, value in self._validated.items()
        )
        parts = [
            f"epoch {_of(trainer.current_epoch + 1, trainer.max_epochs or -1)}",
            f"update {_of(trainer.global_step, trainer.estimated_stepping_batches)}",
            f"train loss {total / number:.4g}" if number else "",
            f"val {validated}" if validated else "",
            f"{float(rate):.3g} clips/s" if rate is not None else "",
            self._time_left(trainer),
        ]
        _tell(trainer, " | ".join(part for part in parts if part))

    def _time_left(self, trainer: Trainer) -> str:
        done = trainer.global_step - self._first
        to_come = trainer.estimated_stepping_batches - trainer.global_step
        if done == 0 or not 0 < to_come < math.inf:
            return ""
        return f"{duration((time.monotonic() - self._began) / done * to_come)} left"


def duration(seconds: int | float) -> str:
    """Return seconds in words; ``duration(4000)`` is ``"1 h 07 min"``."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return (
        f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )


def _sum_and_number(outputs: Any, passes: int) -> Tensor:
    """Of the losses of a training step that are numbers: one, or in a bank one of each member."""
    if isinstance(outputs, Tensor):
        outputs = {"loss": outputs}
    # Lightning divides a loss by the passes of its update
    losses: Tensor = (
        outputs["losses"] if "losses" in outputs else outputs["loss"].detach() * passes
    )
    finite = losses.isfinite()
    return torch.stack([losses.where(finite, 0.0).sum().float(), finite.sum().float()])


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
