"""Log what a run costs: clips a second, peak memory, and bytes sent between ranks."""

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from data_modules.batch import VideoBatch


class Throughput(Callback):
    """Log ``cost/clips_per_s`` of all ranks and ``cost/peak_memory_mib``, after each epoch.

    Clips are counted over an epoch without its first batch, whose time includes the start of workers and
    compilation. Where an epoch has one batch only, that is counted.

    Memory is that of the rank with the most: CUDA's ``max_memory_allocated`` since training started, or
    the largest resident size of the process. On several ranks ``cost/gradient_bytes_per_step`` is what each
    hands over for reduction in an update, and under FSDP2 ``cost/gathered_bytes_per_step`` the weights that
    are gathered for it.
    """

    def __init__(self) -> None:
        # clips of this rank in this epoch, after its first batch and in it
        self._clips = 0
        self._first = 0
        # seconds: when the epoch began, and when its first batch had ended
        self._begun = 0.0
        self._start = 0.0
        # at the beginning of the epoch
        self._sent: dict[str, int] = {}
        self._step = 0

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clips = 0
        self._first = 0
        self._begun = time.perf_counter()
        self._start = 0.0
        self._sent = sent(trainer)
        self._step = trainer.global_step

    # both: Lightning does not call this hook where a run resumes in the middle of an epoch
    on_train_epoch_start = on_train_start

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
    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        # on every rank, also on one without a second batch: sync_dist is a collective
        # times the ranks: it takes the mean over them
        rate = self._rate() * trainer.world_size
        pl_module.log("cost/clips_per_s", rate, sync_dist=True)
        memory = peak_memory_mib(pl_module.device)
        pl_module.log(
            "cost/peak_memory_mib", memory, sync_dist=True, reduce_fx="max"
        )
        steps = trainer.global_step - self._step
        for kind, total in sent(trainer).items() if steps else ():
            per_step = (total - self._sent[kind]) / steps
            pl_module.log(
                f"cost/{kind}_per_step", per_step, sync_dist=True, reduce_fx="max"
            )

    def _rate(self) -> float:
        """Return the clips of this rank a second."""
        now = time.perf_counter()
        if self._clips:
            return self._clips / (now - self._start)
        return self._first / (now - self._begun)


def sent(trainer: Trainer) -> dict[str, int]:
    """Return the bytes that this rank has exchanged so far, by kind; empty in a single process."""
    # Lightning's strategies of one device have neither, DDP has no gathered bytes
    found: dict[str, int] = {}
    for kind in ("gradient_bytes", "gathered_bytes"):
        if hasattr(trainer.strategy, kind):
            found[kind] = getattr(trainer.strategy, kind)
    return found


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory of this process on ``device``, MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # ru_maxrss is in bytes on macOS, in KiB on Linux
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
