"""Read samples from the shards of a cache, by epoch and clip."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from data_modules.features.shards import FeatureRow, Shard, damaged
from data_modules.sample import PADDING, STAND_INS, Clip, OnFault, Sample
from data_modules.sampling.randomness import keyed_generator


class SplitLayout(NamedTuple):
    """Say how the rows of a split lie: draw by draw, in each all clips in their order, cut into shards.

    Three clips in two draws, four rows a shard:

        row       0   1   2   3   4   5
        draw      0   0   0   1   1   1
        clip      0   1   2   0   1   2
        shard     0   0   0   0 | 1   1

    Attributes:
        clips: videos of the split.
        draws: how often each is kept: training's clips of epochs 0 to draws - 1.
        shard_size: rows of a shard.
    """

    clips: int
    draws: int
    shard_size: int

    @property
    def rows(self) -> int:
        """Return the number of rows of all shards."""
        return self.clips * self.draws

    def shards(self, split: str) -> Iterator[tuple[str, range]]:
        """Yield file name and rows of each shard."""
        for number, first in enumerate(range(0, self.rows, self.shard_size)):
            end = min(first + self.shard_size, self.rows)
            yield f"{split}-{number:05}.safetensors", range(first, end)


class Part(NamedTuple):
    """Say which clips of a cache a run reads that uses a part of the data set.

    Attributes:
        numbers: of each clip of the run, its number in the cache.
        labels: number of a class in the cache -> its number in the run.
        seed: of the draws of clips that stand in for unreadable ones.
    """

    numbers: Sequence[int]
    labels: Mapping[int, int]
    seed: int


class FeatureDataset(Dataset[Sample]):
    """Read samples by (epoch, index), of which the features are kept.

    Epoch e has the draw e modulo the number of draws: with two draws, epochs 0, 2, 4 are alike.

    Args:
        paths: of the shards.
        layout: of their rows.
        clips: of the split.
        names: of the parts to read; None: all.
        on_fault: what to do about a row whose video could not be read when the cache was built: ``stop``, or hand it
            over with its fault.
        part: where the clips lie among those that are kept; None: they are all of them, in their order.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        layout: SplitLayout,
        clips: Sequence[Clip],
        names: Collection[str] | None,
        on_fault: OnFault = "count_wrong",
        part: Part | None = None,
    ) -> None:
        self._paths = paths
        self._layout = layout
        self._clips = clips
        self._names = names
        self._on_fault = on_fault
        self._part = part
        self._indices: dict[int, int] = {}
        for index, number in enumerate(part.numbers if part else ()):
            self._indices[number] = index
        self._open: dict[int, Shard] = {}

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._clips)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        """Read one sample; that of :data:`~data_modules.sample.PADDING` is the first one, marked.

        Raises:
            ValueError, FileNotFoundError: the shard is damaged or missing, or the video could not be read and
                ``on_fault`` is ``stop``.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if index == PADDING:
            # It counts nowhere, so that its video cannot be read is no fault of the run.
            return self._read(epoch, 0)._replace(fault="", padding=True)
        sample = self._read(epoch, index)
        if sample.fault and self._on_fault == "stop":
            raise ValueError(
                f"{sample.fault}; the cache holds no features of "
                "it: files.broken=count_wrong counts it as wrong"
            )
        return sample

    def _read(self, epoch: int, index: int) -> Sample:
        row = self._row(epoch, index)
        fault = row.fault
        shown = self._index_of(row.clip)
        if shown is None:
            # Of an unreadable video, for which one stands in that is not of the run.
            shown = self._stand_in(epoch, index, fault)
            row = self._row(epoch, shown)
        clip = self._clips[shown]
        labels = row.labels
        if self._part is not None:
            # A mirror image that is no class of the run keeps the clip's own label, as where clips are read.
            new = self._part.labels
            labels = tuple(new.get(label, clip.label) for label in labels)
        return Sample(row.parts, labels, clip.clip_id, epoch, fault, clip.captions)

    def _row(self, epoch: int, index: int) -> FeatureRow:
        """Return the row of a clip in the draw of an epoch."""
        draw = epoch % self._layout.draws
        place = self._part.numbers[index] if self._part else index
        number = draw * self._layout.clips + place
        shard, place = divmod(number, self._layout.shard_size)
        row = self._shard(shard).row(place, self._names)
        # The checksum holds, so the shard is of another list of clips.
        if not 0 <= row.clip < self._layout.clips:
            raise ValueError(damaged(self._paths[shard]))
        return row

    def _index_of(self, number: int) -> int | None:
        """Return which clip of the run has this number in the cache; None where none has."""
        return self._indices.get(number) if self._part else number

    def _stand_in(self, epoch: int, index: int, fault: str) -> int:
        """Return a clip of the run whose row is its own, drawn from (seed, epoch, clip id).

        Raises:
            ValueError: none of those that were drawn could be read when the cache was built.
        """
        seed = self._part.seed if self._part else 0
        key = f"stand-in for {self._clips[index].clip_id}"
        generator = keyed_generator(seed, epoch, key)
        for other in generator.integers(len(self._clips), size=STAND_INS).tolist():
            if not self._row(epoch, other).fault:
                return other
        raise ValueError(
            f"{fault}; nor could any of {STAND_INS} other clips of the run be read when the cache was built"
        )

    def _shard(self, number: int) -> Shard:
        # Opened when first read: a worker seldom reads all shards, and each takes a file handle.
        if number not in self._open:
            self._open[number] = Shard(self._paths[number])
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open files: each worker opens its own."""
        return vars(self) | {"_open": {}}
