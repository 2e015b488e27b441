"""What a run costs: clips a second and peak memory."""

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from data_modules.batch import VideoBatch


class Throughput(Callback):
    """Logs ``cost/clips_per_s`` of all ranks and ``cost/peak_memory_mib``, after each epoch.

    Clips are counted over an epoch without its first batch, which pays for the start of workers and for compilation;
    where there is no second one, with it.

    Memory is CUDA's ``max_memory_allocated`` since training started, or the largest resident size of the process, of
    the rank with the most. On several ranks ``cost/gradient_bytes_per_step`` is what each hands over in an optimiser
    step to be reduced, and under FSDP2 ``cost/gathered_bytes_per_step`` are the weights that are gathered for it.
    """

    def __init__(self) -> None:
        self._clips = 0  # of this rank, after the first batch
        self._first = 0  # of this rank, in the first batch
        self._begun = self._start = (
            0.0  # when the epoch began, and when its first batch had ended
        )
        self._sent, self._step = dict[str, int](), 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clips = self._first = 0
        self._begun, self._start = time.perf_counter(), 0.0
        self._sent, self._step = sent(trainer), trainer.global_step

    on_train_epoch_start = on_train_start  # not called where a run goes on in mid-epoch

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        if self._start == 0.0:
            self._start = time.perf_counter()
            self._first = len(batch.label)
        else:
            self._clips += len(batch.label)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # every rank logs it, also one that had no second batch, for all of them must meet there
        pl_module.log(
            "cost/clips_per_s", self._rate() * trainer.world_size, sync_dist=True
        )
        pl_module.log(
            "cost/peak_memory_mib",
            peak_memory_mib(pl_module.device),
            sync_dist=True,
            reduce_fx="max",
        )
        steps = trainer.global_step - self._step
        for kind, total in sent(trainer).items() if steps else ():
            per_step = (total - self._sent[kind]) / steps
            pl_module.log(
                f"cost/{kind}_per_step", per_step, sync_dist=True, reduce_fx="max"
            )

    def _rate(self) -> float:
        """Clips of this rank a second."""
        now = time.perf_counter()
        return (
            self._clips / (now - self._start)
            if self._clips
            else self._first / (now - self._begun)
        )


def sent(trainer: Trainer) -> dict[str, int]:
    """Bytes that this rank has exchanged so far, by kind; none in a single process."""
    strategy = trainer.strategy
    return {
        kind: getattr(strategy, kind)
        for kind in ("gradient_bytes", "gathered_bytes")
        if hasattr(strategy, kind)
    }


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process on ``device``, MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
