"""Probe every file of a data set once, before training meets it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import get_args

from rich.console import Console
from rich.progress import TextColumn
from rich.table import Table

from data_modules.io.names import cell, visible
from data_modules.io.progress import cpus, progress
from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Split
from data_modules.storage.manifest import (
    NAME,
    FileStatus,
    ManifestEntry,
    Stamp,
    append,
    describes,
    key,
    read,
    sampled,
    stamp,
    write,
)
from data_modules.storage.prober import Outcome, outcomes, probe
from data_modules.video.decode import VideoInfo

_THREADS = 16  # a look at a file of a network disk is waiting
_LISTED = 20  # bad files told one by one, and as many odd ones


def index(
    data: VideoDataModule,
    *,
    workers: int | None = None,
    timeout: int | float = 60,
    output: Path | None = None,
    verify: bool = False,
) -> int:
    """Decode every file of all splits once and write what was found to a manifest.

    A file that the manifest knows as good, with the same size, time and sample of its bytes, is not probed again, so a
    stopped run goes on where it was. A process that hangs or crashes on a file is replaced, and the file is reported.

    Args:
        data: the data set.
        workers: probe processes; one for each CPU where not given.
        timeout: seconds after which a file counts as hung and its process is killed.
        output: the manifest; that of the data set's ``files.manifest`` where not given, which is ``manifest.csv``
            beside the annotation.
        verify: believe no line, and probe every file again.

    Returns:
        0 where every file is good, else 1.

    Raises:
        ValueError: the data set lists no clip.
    """
    output = output or (
        Path(data.files.manifest) if data.files.manifest else data.root / NAME
    )
    paths = _paths(data)
    try:
        left = paths if verify else _unknown(output, data.root, paths)
        done = len(paths) - len(left)
        _complete(
            output,
            data.root,
            left,
            done,
            workers=cpus() if workers is None else workers,
            timeout=timeout,
        )
    except KeyboardInterrupt:
        print(visible(f"stopped; the same command goes on from {output}"))
        return 130
    known = read(output)
    write(output, known.values())
    return _report([known[key(path, data.root)] for path in paths], output)


def _paths(data: VideoDataModule) -> list[Path]:
    splits: tuple[Split, ...] = get_args(Split)
    # A dict for its order: a file of several clips is probed once.
    found: dict[Path, None] = {}
    for split in splits:
        for clip in data.clips(split):
            found[Path(str(clip.path))] = None
    paths = list(found)
    if not paths:
        raise ValueError(f"{type(data).__name__}: lists no clips")
    return paths


def _unknown(output: Path, root: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the files that the manifest does not know as good, as they are now."""
    good: dict[str, ManifestEntry] = {}
    for entry in read(output).values():
        if entry.status == "ok":
            good[entry.path] = entry

    def known(path: Path) -> bool:
        entry = good.get(key(path, root))
        return entry is not None and describes(entry, path)

    with ThreadPoolExecutor(_THREADS) as pool:
        is_known = pool.map(known, paths)
        return [
            path for path, skip in zip(paths, is_known, strict=True) if not skip
        ]


def _complete(
    output: Path,
    root: Path,
    todo: Sequence[Path],
    done: int,
    *,
    workers: int,
    timeout: int | float,
) -> None:
    """Add a line for each file; ``done`` others were known."""
    stamps = {path: stamp(path) for path in todo}
    with progress("files", TextColumn("{task.fields[bad]} bad")) as shown:
        bar = shown.add_task(
            "Probing", total=done + len(todo), completed=done, bad=0
        )
        for entry in _probed(todo, root, stamps, workers=workers, timeout=timeout):
            append(output, entry)
            bad = shown.tasks[bar].fields["bad"] + (entry.status != "ok")
            shown.update(bar, advance=1, bad=bad)


def _probed(
    paths: Iterable[Path],
    root: Path,
    stamps: dict[Path, Stamp | None],
    *,
    workers: int,
    timeout: int | float,
) -> Iterator[ManifestEntry]:
    there: list[Path] = []
    for path in paths:
        if stamps[path] is None:
            yield ManifestEntry(key(path, root), "missing", "no such file")
        else:
            there.append(path)
    for outcome in outcomes(probe, there, workers=workers, timeout=timeout):
        yield _entry(outcome, root, stamps[outcome.item])


def _entry(
    outcome: Outcome[Path, VideoInfo], root: Path, now: Stamp | None
) -> ManifestEntry:
    status: FileStatus = "ok" if outcome.failure is None else "bad"
    if outcome.failure == "hung":
        status = "hung"
    reason = outcome.reason.removeprefix(f"{outcome.item}: ")
    # A file that hung is not read once more: that may hang again.
    now = now if status == "hung" else sampled(now, outcome.item)
    return ManifestEntry(
        key(outcome.item, root), status, reason, now, outcome.result
    )


def _report(entries: Sequence[ManifestEntry], output: Path) -> int:
    console = Console(soft_wrap=True, highlight=False)
    bad: list[ManifestEntry] = []
    odd: list[tuple[str, str]] = []
    for entry in entries:
        if entry.status != "ok":
            bad.append(entry)
        if entry.info and entry.info.note:
            odd.append((entry.path, entry.info.note))
    console.print(_summary(entries))
    for entry in bad[:_LISTED]:
        console.print(cell(f"{entry.status:8}{entry.path}: {entry.reason}"))
    if len(bad) > _LISTED:
        console.print(f"... and {len(bad) - _LISTED} more")
    for path, note in odd[:_LISTED]:
        console.print(cell(f"{'odd':8}{path}: {note}"), highlight=False)
    if len(odd) > _LISTED:
        console.print(f"... and {len(odd) - _LISTED} more that are odd")
    verdict = "every file is good"
    if bad:
        verdict = f"{len(bad)} of {len(entries)} files cannot be used"
    console.print(cell(f"{verdict}; see {output}"))
    return int(bool(bad))


def _summary(entries: Sequence[ManifestEntry]) -> Table:
    infos = [entry.info for entry in entries if entry.info]
    table = Table("files", str(len(entries)))
    for status, count in Counter(entry.status for entry in entries).items():
        table.add_row(status, str(count))
    hours = sum(info.duration for info in infos) / 3600
    size = sum(entry.stamp.size for entry in entries if entry.stamp)
    codecs = Counter(info.codec for info in infos).most_common()
    table.add_row("length", f"{hours:.2f} h")
    table.add_row("size", f"{size / 2**30:.3f} GiB")
    table.add_row("codecs", ", ".join(f"{name} {count}" for name, count in codecs))
    if infos:
        apart = median(info.num_frames / max(info.keyframes, 1) for info in infos)
        table.add_row("keyframe", f"every {apart:.0f} frames (median)")
    return table
