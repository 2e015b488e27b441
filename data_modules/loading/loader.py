"""Data loaders that leave the global random state alone."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import torch
from torch.utils.data import DataLoader, Dataset

from data_modules.batch import VideoBatch
from data_modules.loading.collate import Collate, PlaneBatch
from data_modules.loading.sampler import EpochBatchSampler, PaddedSampler
from data_modules.sample import Sample


class _Options(TypedDict):
    num_workers: int
    multiprocessing_context: str | None
    persistent_workers: bool
    pin_memory: bool
    generator: torch.Generator
    worker_init_fn: Callable[[int], None]


class TrainLoader(DataLoader[Sample]):
    """Start the sampler and the workers when the first batch is asked for.

    A plain loader does so when its iterator is made. Lightning makes the iterator
    before it restores its progress wherever the number of steps was asked for early
    (learning rate schedules do); at the first batch the progress is right in every
    case.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        batch_sampler: EpochBatchSampler,
        collate: Collate,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=batch_sampler,
            collate_fn=collate,
            **_options(num_workers),
        )

    def __iter__(self) -> Iterator[VideoBatch | PlaneBatch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield the batches of an epoch, or of the rest of it."""
        # a generator: its body runs at the first batch
        yield from super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """Return nothing: the position is arithmetic on Lightning's own progress.

        Lightning takes a loader with this method for one that can resume in the middle
        of an epoch, and does not warn.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Do nothing, as there is no state."""


def eval_loader(
    dataset: Dataset[Sample],
    sampler: PaddedSampler,
    *,
    batch_size: int,
    num_workers: int = 0,
) -> DataLoader[Sample]:
    """Return batches of the clips of ``sampler`` in order; the last one may be small."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=Collate(),
        **_options(num_workers),
    )


def sample_loader(
    dataset: Dataset[Sample],
    batches: Sequence[list[tuple[int, int]]],
    *,
    num_workers: int = 0,
) -> DataLoader[Sample]:
    """Return lists of samples as the data set makes them, of these (epoch, index)."""
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=list, **_options(num_workers)
    )


def _options(num_workers: int) -> _Options:
    return _Options(
        num_workers=num_workers,
        # fork copies locks held by threads of torch and av; a fork server has none
        multiprocessing_context="forkserver" if num_workers else None,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # else each new iterator draws its seed from the global generator, and a run
        # that evaluates more often would train on other draws
        generator=torch.Generator(),
        worker_init_fn=_outlive_signals,
    )


def _outlive_signals(_: int) -> None:
    """Let a worker ignore the signals that ask a job to stop.

    SLURM sends them to every process of a job. The main process answers them, and needs
    its workers until it has saved.
    """
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    """End this worker when the main process ends.

    Torch looks at a worker's parent, but that is the fork server, which goes on where
    the main process is killed.
    """
    main = multiprocessing.parent_process()
    if main is not None:
        main.join()
        os._exit(1)  # sys.exit would end this thread alone


@atexit.register
def _end_workers() -> None:
    """Kill the workers that are left.

    Handlers run in the reverse order of their registration, so this one comes before
    that of multiprocessing, which asks workers to end by SIGTERM. They ignore it, and
    it would wait for ever.
    """
    for worker in multiprocessing.active_children():
        if worker.daemon:
            worker.kill()
