"""Report what an ingested copy holds and gains: the time to decode clips of the originals and of the copy."""

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
from data_modules.storage.copy_index import CopyEntry, read_index
from data_modules.storage.ingested import IngestedCopy
from data_modules.video.decode import open_video
from data_modules.video.source import Source

_CLIPS = 16  # whose decoding is timed
_REPEATS = 3  # the median counts, because other processes disturb
_LISTED = 20


class Cost(NamedTuple):
    """Hold the CPU time to decode 8 frames spread over a clip, mean over clips, seconds."""

    before: float
    after: float


def report(folder: Path, originals: Mapping[str, Path], console: Console) -> int:
    """Print the table and the clips that were not encoded; 1 if any is damaged, else 0."""
    entries = list(read_index(folder))
    console.print(_table(folder, entries, _cost(folder, entries, originals)))
    odd = [entry for entry in entries if entry.reason]
    for entry in odd[:_LISTED]:
        line = f"{entry.status}: {entry.path}: {entry.reason}"
        console.print(cell(line), soft_wrap=True)
    if len(odd) > _LISTED:
        line = f"and {len(odd) - _LISTED} more, with a reason in {folder}/index.csv"
        console.print(cell(line), soft_wrap=True)
    return int(any(entry.status == "damaged" for entry in entries))


def _table(folder: Path, entries: Sequence[CopyEntry], cost: Cost | None) -> Table:
    counts = Counter[str]()
    before = 0
    after = 0
    seconds = 0.0
    psnr: list[float] = []
    for entry in entries:
        counts[entry.status] += 1
        before += entry.source_size
        after += entry.size
        seconds += entry.seconds
        if entry.status == "encoded":
            psnr.append(entry.psnr)
    table = Table("ingested")
    table.add_column(cell(str(folder)))
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
    table.add_row("clips", statuses)
    table.add_row("length", f"{seconds / 3600:.2f} h")
    sizes = f"{decimal(before)} before, {decimal(after)} after"
    table.add_row("size", f"{sizes}: {after / max(before, 1):.2f}x")
    if psnr:
        luma = f"{min(psnr):.1f} dB least, {median(psnr):.1f} dB median"
        table.add_row("PSNR of luma", luma)
    if cost:
        times = f"{1000 * cost.before:.1f} ms CPU before, {1000 * cost.after:.1f} ms after"
        rates = f"{1 / cost.before:.0f} clips/s before, {1 / cost.after:.0f} clips/s after"
        table.add_row("8 frames of a clip", times)
        table.add_row("one core", rates)
        table.add_row("gain", f"{cost.before / cost.after:.1f}x")
    return table


def _cost(
    folder: Path, entries: Sequence[CopyEntry], originals: Mapping[str, Path]
) -> Cost | None:
    """Return the cost of a few clips from all over, or None where no clip decodes."""
    good = [entry.path for entry in entries if entry.status != "damaged"]
    chosen = good[:: max(1, math.ceil(len(good) / _CLIPS))]
    if not chosen:
        return None
    copies = list(map(IngestedCopy(folder).source, chosen))
    sources = [Source(originals[path]) for path in chosen]
    before: list[float] = []
    after: list[float] = []
    # Both sides in every round, so that a disturbance in one round meets both.
    for _ in range(_REPEATS):
        before.append(sum(map(_seconds, sources)))
        after.append(sum(map(_seconds, copies)))
    return Cost(median(before) / len(chosen), median(after) / len(chosen))


def _seconds(source: Source) -> float:
    """Return the CPU time of opening a video and decoding 8 of its frames, seconds."""
    start = time.process_time()
    with open_video(source) as video:
        length = Length(video.num_frames, video.fps)
        video.planes(SegmentSampling(8).test(length, 1)[0])
    return time.process_time() - start
