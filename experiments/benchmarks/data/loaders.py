"""Batches as training receives them: worker processes that decode, timed by the wall clock."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Clip, Split
from data_modules.sampling.schemes import Length, SegmentSampling
from experiments.benchmarks.data.contenders import CROP, SIZE, Contender

BATCH = 8
_SAMPLING = SegmentSampling(
    8
)  # the centres of the segments: the same frames for everybody


class Files(Dataset[Tensor]):
    """Clips as one of the other readers gives them."""

    def __init__(
        self,
        paths: Sequence[Path],
        num_frames: Sequence[int],
        contender: Contender,
        size: tuple[int, int],
    ):
        self._paths, self._num_frames, self._contender, self._size = (
            paths,
            num_frames,
            contender,
            size,
        )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        """One clip."""
        indices = _SAMPLING.test(Length(self._num_frames[index], 0), 1)[0]
        return self._contender.make(*self._size)(self._paths[index], indices)


class Clips(VideoDataModule):
    """A data module of files without labels."""

    def __init__(
        self,
        paths: Sequence[Path],
        workers: int,
        transforms_on: Literal["worker", "device"],
    ) -> None:
        super().__init__(["video"], sampling=_SAMPLING, image_size=SIZE, eval_crop=CROP, batch_size=BATCH,
                         num_workers=workers, transforms_on=transforms_on)  # fmt: skip
        self._paths, self.root = paths, paths[0].parent

    def clips(self, split: Split) -> list[Clip]:
        """The same in every split."""
        return [Clip(str(index), path, 0) for index, path in enumerate(self._paths)]


def ours(
    paths: Sequence[Path], workers: int, transforms_on: Literal["worker", "device"]
) -> DataLoader[Any]:
    """The test loader of a data module: RGB 224, or planes on their way to the device."""
    data = Clips(paths, workers, transforms_on)
    data.setup("test")
    return data.test_dataloader()


def theirs(files: Files, workers: int) -> DataLoader[Any]:
    """PyTorch's loader over another reader."""
    return DataLoader(files, batch_size=BATCH, num_workers=workers, persistent_workers=True,
                      multiprocessing_context="forkserver", generator=torch.Generator())  # fmt: skip


def wall(
    loaders: Mapping[str, DataLoader[Any]], clips: int, repeats: int
) -> dict[str, list[float]]:
    """Wall milliseconds a clip of whole epochs, interleaved; a first epoch starts the workers and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in loaders}
    for repeat in range(1 + repeats):
        for name, loader in loaders.items():
            start = time.perf_counter()
            for _ in loader:
                pass
            if repeat:
                times[name].append(1000 * (time.perf_counter() - start) / clips)
    return times
