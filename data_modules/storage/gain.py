"""What an ingested copy holds, and what it gains: decoding time of clips from the originals and from the copy."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from data_modules.io.names import cell
from data_modules.sampling.schemes import Length, SegmentSampling
from data_modules.storage.shards import Entry, Storage, read_index
from data_modules.video.decode import open_video
from data_modules.video.source import Source

_CLIPS, _REPEATS, _LISTED = 16, 3, 20


class Cost(NamedTuple):
    """CPU time to decode 8 frames spread over a clip, mean over clips, seconds."""

    before: float
    after: float


def report(folder: Path, originals: Mapping[str, Path], console: Console) -> int:
    """Print the table and the clips that were not encoded; 1 if any is damaged, else 0."""
    entries = list(read_index(folder))
    console.print(_table(folder, entries, _cost(folder, entries, originals)))
    odd = [entry for entry in entries if entry.reason]
    for entry in odd[:_LISTED]:
        console.print(
            cell(f"{entry.status}: {entry.path}: {entry.reason}"), soft_wrap=True
        )
    if len(odd) > _LISTED:
        console.print(
            cell(f"and {len(odd) - _LISTED} more, with a reason in {folder}/index.csv"),
            soft_wrap=True,
        )
    return int(any(entry.status == "damaged" for entry in entries))


def _table(folder: Path, entries: Sequence[Entry], cost: Cost | None) -> Table:
    counts = Counter(entry.status for entry in entries)
    before, after = (
        sum(entry.source_size for entry in entries),
        sum(entry.size for entry in entries),
    )
    table = Table("ingested")
    table.add_column(cell(str(folder)))
    table.add_row(
        "clips", ", ".join(f"{count} {status}" for status, count in counts.items())
    )
    table.add_row("length", f"{sum(entry.seconds for entry in entries) / 3600:.2f} h")
    table.add_row(
        "size",
        f"{decimal(before)} before, {decimal(after)} after: {after / max(before, 1):.2f}x",
    )
    psnr = [entry.psnr for entry in entries if entry.status == "encoded"]
    if psnr:
        table.add_row(
            "PSNR of luma", f"{min(psnr):.1f} dB least, {median(psnr):.1f} dB median"
        )
    if cost:
        table.add_row(
            "8 frames of a clip",
            f"{1000 * cost.before:.1f} ms CPU before, {1000 * cost.after:.1f} ms after",
        )
        table.add_row(
            "one core",
            f"{1 / cost.before:.0f} clips/s before, {1 / cost.after:.0f} clips/s after",
        )
        table.add_row("gain", f"{cost.before / cost.after:.1f}x")
    return table


def _cost(
    folder: Path, entries: Sequence[Entry], originals: Mapping[str, Path]
) -> Cost | None:
    """Of a few clips from all over; each is decoded from either side in turn, and the median counts."""
    storage, good = (
        Storage(folder),
        [entry.path for entry in entries if entry.status != "damaged"],
    )
    chosen = good[:: max(1, math.ceil(len(good) / _CLIPS))]
    if not chosen:
        return None
    pairs = [(Source(originals[path]), storage.source(path)) for path in chosen]
    rounds = [
        Cost(*(sum(map(_seconds, side)) for side in zip(*pairs, strict=True)))
        for _ in range(_REPEATS)
    ]
    return Cost(*(median(side) / len(chosen) for side in zip(*rounds, strict=True)))


def _seconds(source: Source) -> float:
    start = time.process_time()
    with open_video(source) as video:
        length = Length(video.num_frames, video.fps)
        video.planes(SegmentSampling(8).test(length, 1)[0])
    return time.process_time() - start
