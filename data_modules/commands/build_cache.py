"""Run the frozen part of a trunk once over every clip, and keep what it computed in a folder."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import UInt8
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from torch import Tensor

from data_modules.features import contents
from data_modules.features.cache import (
    INDEX,
    Index,
    differences,
    read_index,
    write_index,
)
from data_modules.features.dataset import SplitLayout
from data_modules.features.shards import (
    FeatureRow,
    Kept,
    Shard,
    num_bytes,
    pack,
    write,
)
from data_modules.io.names import cell
from data_modules.io.progress import progress
from data_modules.loading.data_module import VideoDataModule
from data_modules.loading.loader import sample_loader
from data_modules.sample import Sample, Split
from data_modules.storage.content import Content, contents_of

Encode = Callable[[UInt8[Tensor, "b t c h w"]], dict[str, Tensor]]
# Large enough for a disk to read in one go, small enough to hold in memory and to make again.
_SHARD_BYTES = 2**28
_MOST_ROWS = 4096
_TRIAL = 4  # clips on which the trunk is timed


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Say how features are kept.

    Args:
        output: folder of the cache, for the data set's option ``cache``.
        augmentations: draws of each training clip: those that live training shows in as many first epochs.
        dtype: bf16, fp16, fp32, or int8 with one scale for each token; 8-bit pixels stay as they are.
        shard_size: clips of a file; as many as make about 256 MiB where not given.
        splits: what is kept of the data set; ``test`` in the views of the configuration, ``val`` in one.
        verify: compare all bytes of every video with those that kept features were computed of, not a sample.
    """

    output: Path
    augmentations: int = 1
    dtype: Kept = "bf16"
    shard_size: int | None = None
    splits: tuple[Split, ...] = ("train", "val")
    verify: bool = False

    def __post_init__(self) -> None:
        _check_count("augmentations", self.augmentations)
        _check_count("shard_size", self.shard_size or 1)


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: expected 1 or more, got {value}")


def build(
    data: VideoDataModule,
    encode: Encode,
    *,
    trunk: Mapping[str, Any],
    storage: Storage,
) -> int:
    """Keep what ``encode`` makes of every clip. A stopped build goes on; a finished one is checked and mended.

    Args:
        data: the data set.
        encode: clips to the parts that are kept of them, on its own device.
        trunk: what ``encode`` depends on, in JSON types.
        storage: how.

    Returns:
        0, or 130 where it was interrupted.

    Raises:
        ValueError: clips are mixed, too little room, or a folder that holds something else.
    """
    if data.mixing is not None:
        raise ValueError(
            "data.mixing blends the pixels of two clips, and a cache keeps each "
            "for itself: remove it"
        )
    console = Console(highlight=False)
    output = storage.output
    splits = [_Split(data, split, encode, storage) for split in storage.splits]
    key: dict[str, Any] = {"trunk": dict(trunk)}
    layout: dict[str, SplitLayout] = {}
    for split in splits:
        key[split.name] = data.seen(split.name)
        layout[split.name] = split.layout
    index = Index(key, splits[0].dtypes, storage.dtype, layout)
    _require_own(output, index)
    for split in splits:
        split.forget_changed(console)
        split.find_missing(console)
    _foresee(splits, output, console)
    output.mkdir(parents=True, exist_ok=True)
    write_index(output, index)
    _note_contents(splits, console)
    try:
        _fill(splits, console)
    except KeyboardInterrupt:
        line = f"stopped; the same command goes on in {output}"
        console.print(cell(line), soft_wrap=True)
        return 130
    console.print(_table(splits))
    return 0


class _Split:
    """Make the shards of one split."""

    def __init__(
        self, data: VideoDataModule, name: Split, encode: Encode, storage: Storage
    ) -> None:
        self.name: Split = name
        self.videos = data.live(name)
        self.output = storage.output
        self._data = data
        self._encode = encode
        self._storage = storage
        self._numbers: dict[str, int] = {}
        for number, clip in enumerate(data.located(name)):
            self._numbers[clip.clip_id] = number
        self.missing: dict[Path, range] = {}
        self.stale: list[int] = []
        self._measure()

    def _measure(self) -> None:
        """Note time, size and types of a few clips, from which the whole is foreseen."""
        samples = [self.videos[n] for n in range(min(_TRIAL, len(self.videos)))]
        # The first pass pays for what later ones have ready, such as compiled kernels, and is not timed.
        self._parts(samples)
        start = time.perf_counter()
        parts = self._parts(samples)
        self.seconds = (time.perf_counter() - start) / len(samples)
        self.size = num_bytes(pack(parts, self._storage.dtype)) // len(samples)
        self.dtypes: dict[str, str] = {}
        for name, values in parts.items():
            self.dtypes[name] = str(values.dtype).removeprefix("torch.")

    @property
    def layout(self) -> SplitLayout:
        """Return where its rows go."""
        draws = self._storage.augmentations if self.name == "train" else 1
        most = max(1, min(_MOST_ROWS, _SHARD_BYTES // self.size))
        return SplitLayout(
            len(self.videos), draws, self._storage.shard_size or most
        )

    @property
    def shards(self) -> dict[Path, range]:
        """Return all of its files, each with its rows."""
        found: dict[Path, range] = {}
        for name, rows in self.layout.shards(self.name):
            found[self.output / name] = rows
        return found

    @property
    def num_missing(self) -> int:
        """Return the number of rows that are still to be made."""
        return sum(map(len, self.missing.values()))

    def forget_changed(self, console: Console) -> None:
        """Delete the shards that hold features of other videos than those of now, which is told."""
        clips = self._data.located(self.name)
        places = [clip.path for clip in clips]
        verify = self._storage.verify
        self.stale = contents.stale(self.output, self.name, places, verify=verify)
        made: list[Path] = []
        for path, rows in self.shards.items():
            if path.exists() and self._is_of_others(path, rows):
                made.append(path)
        if made:
            names = [clip.clip_id for clip in clips]
            told = contents.complaint(self.output, self.name, self.stale, names)
            line = f"{told}; {len(made)} shards are made anew"
            console.print(cell(line), soft_wrap=True)
        for path in made:
            path.unlink()

    def _is_of_others(self, path: Path, rows: range) -> bool:
        """Tell whether a shard has a clip that changed, or may have one in the place of an unreadable clip."""
        changed = set(self.stale)
        if not changed:
            return False
        clips = len(self.videos)
        return any(row % clips in changed for row in rows) or _has_faults(path)

    def contents(self) -> Iterator[Content | None]:
        """Yield what is in its videos now; those that did not change are not read again."""
        held = contents.read(self.output, self.name, len(self.videos))
        clips = self._data.located(self.name)
        anew = contents_of([clips[number].path for number in self.stale])
        changed = set(self.stale)
        for number, entry in enumerate(held):
            yield next(anew) if number in changed else entry

    def find_missing(self, console: Console) -> None:
        """Note the shards that are not there, or are damaged, which is told."""
        for path, rows in self.shards.items():
            try:
                Shard(path).check(len(rows))
            except FileNotFoundError:
                self.missing[path] = rows
            except ValueError:
                line = f"{path}: this shard is damaged; it is made anew"
                console.print(cell(line), soft_wrap=True)
                self.missing[path] = rows

    def fill(self) -> Iterator[int]:
        """Make what is missing, and yield the number of rows of each batch.

        Batches never reach over the end of a shard, so a shard always has the same bytes.
        """
        batches = self._batches()
        workers = self._data.num_workers
        samples = iter(sample_loader(self.videos, batches, num_workers=workers))
        for path, rows in self.missing.items():
            made: list[FeatureRow] = []
            while len(made) < len(rows):
                batch = self._rows(next(samples))
                made += batch
                yield len(batch)
            write(path, made)

    def _batches(self) -> list[list[tuple[int, int]]]:
        """Return draw and clip of all missing rows, in batches: of three clips row 4 is (1, 1)."""
        size = self._data.batch_size
        clips = len(self.videos)
        batches: list[list[tuple[int, int]]] = []
        for rows in self.missing.values():
            for first in range(0, len(rows), size):
                some = rows[first : first + size]
                batches.append([divmod(row, clips) for row in some])
        return batches

    def _rows(self, samples: Sequence[Sample]) -> list[FeatureRow]:
        packed = pack(self._parts(samples), self._storage.dtype)
        # At once for the whole batch: a copy from the device for each row would wait as many times.
        packed = {name: values.cpu() for name, values in packed.items()}
        rows: list[FeatureRow] = []
        for n, sample in enumerate(samples):
            parts = {name: values[n] for name, values in packed.items()}
            number = self._numbers[sample.clip_id]
            rows.append(FeatureRow(parts, sample.labels, number, sample.fault))
        return rows

    def _parts(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        video = torch.stack([cast(Tensor, sample.video) for sample in samples])
        parts = self._encode(rearrange(video, "b v ... -> (b v) ..."))
        count = len(samples)
        by_clip: dict[str, Tensor] = {}
        for name, values in parts.items():
            by_clip[name] = rearrange(values, "(b v) ... -> b v ...", b=count)
        return by_clip


def _require_own(output: Path, index: Index) -> None:
    """Raise ``ValueError`` unless the folder is empty or holds this very cache, finished or not."""
    if not output.exists() or not any(output.iterdir()):
        return
    if not (output / INDEX).is_file():
        raise ValueError(
            f"{output}: is neither empty nor a feature cache; name another folder"
        )
    held = _in_json(read_index(output))
    wanted = _in_json(index)
    differs = differences(held, wanted)
    if differs:
        raise ValueError(
            f"{output}: holds another cache: {'; '.join(differs)}; name another folder"
        )


def _in_json(index: Index) -> Any:
    """Return an index as it comes back from its file: tuples become lists there."""
    return json.loads(json.dumps(index._asdict()))


def _note_contents(splits: Sequence[_Split], console: Console) -> None:
    """Write down of which videos the features are.

    That is done before the first of them is computed: what changes meanwhile is then found by the next build.
    """
    with progress("videos", console=console) as shown:
        for split in splits:
            found: list[Content | None] = []
            bar = shown.add_task(f"Reading {split.name}", total=len(split.videos))
            for entry in split.contents():
                found.append(entry)
                shown.advance(bar)
            contents.write(split.output, split.name, found)


def _has_faults(path: Path) -> bool:
    """Tell whether a shard has rows of unreadable videos, or cannot be read itself."""
    try:
        return Shard(path).num_faults > 0
    except ValueError:
        return True


def _foresee(splits: Sequence[_Split], output: Path, console: Console) -> None:
    """Tell what the build will take and when it pays.

    Raises:
        ValueError: it would not fit on the disk.
    """
    needed = sum(split.num_missing * split.size for split in splits)
    # Of the nearest folder above that is there: the output itself need not be, yet.
    parents = (output, *output.absolute().parents)
    free = shutil.disk_usage(next(path for path in parents if path.exists())).free
    texts: list[str] = []
    for split in splits:
        size = decimal(split.size)
        texts.append(f"{split.num_missing} of {split.name} with {size} each")
    counts = ", ".join(texts)
    foreseen = (
        f"clips to keep: {counts}: {decimal(needed)} in all; {decimal(free)} are free "
        f"in {output}"
    )
    console.print(cell(foreseen), soft_wrap=True)
    milliseconds = 1000 * splits[0].seconds
    rate = splits[0].size / splits[0].seconds / 1e6
    console.print(
        f"the trunk takes {milliseconds:.1f} ms a clip: where features are read "
        f"at less than {rate:.1f} MB/s, live "
        "training is faster"
    )
    if needed > free:
        raise ValueError(
            f"{output}: the cache needs {decimal(needed)}, {decimal(free)} are "
            "free; make room, or keep less: dtype "
            "int8, fewer augmentations, fewer taps"
        )


def _fill(splits: Sequence[_Split], console: Console) -> None:
    with progress("clips", console=console) as shown:
        total = sum(split.num_missing for split in splits)
        bar = shown.add_task("Keeping features", total=total)
        for split in splits:
            for rows in split.fill():
                shown.advance(bar, rows)


def _table(splits: Sequence[_Split]) -> Table:
    columns = ("split", "clips", "draws", "shards", "bytes", "unreadable")
    table = Table(*columns, title="Feature cache")
    for split in splits:
        size = 0
        faults = 0
        for path in split.shards:
            size += path.stat().st_size
            faults += Shard(path).num_faults
        layout = split.layout
        counts = (
            layout.clips,
            layout.draws,
            len(split.shards),
            decimal(size),
            faults,
        )
        table.add_row(split.name, *map(str, counts))
    return table
