"""Copy a data set once into files, or tar shards, from which any frame is cheap to reach."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast, get_args

from rich.console import Console
from rich.filesize import decimal
from rich.progress import track

from data_modules.io.names import ENCODING, ERRORS, cell, to_json, visible
from data_modules.io.progress import cpus, progress
from data_modules.io.untrusted import inside, read_json
from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Split
from data_modules.storage.copy_index import INDEX, of_others, read_index
from data_modules.storage.gain import report
from data_modules.storage.ingest_copy import CopyInProgress
from data_modules.storage.prober import outcomes
from data_modules.storage.shards import check
from data_modules.storage.transcode import Profile, copy_clip, keep

_RECORD = "ingest.json"
_SAMPLE = 32  # clips from which the size of the copy is foreseen


def ingest(
    data: VideoDataModule,
    *,
    output: Path,
    reencode: bool = True,
    tar: bool = False,
    short_side: int = 256,
    crf: int = 24,
    workers: int | None = None,
    timeout: int | float = 1800,
    verify: bool = False,
) -> int:
    """Copy every clip of all splits to files or tar shards that decode fast.

    Re-encoding is H.264 with a key frame every 16 frames and B frames between them that no other frame needs. Every
    frame keeps its time, so a clip shows the same frames as before. Each copy is decoded and compared with its
    original; where it is not faithful the original's bytes are kept. A stopped run goes on where it was. A finished
    one is compared with its checksums, and what is damaged is made again.

    Args:
        data: the data set.
        output: folder of the copy, for the data set's option ``files.ingested``.
        reencode: false copies the bytes as they are, into tar shards.
        tar: shards of about 1 GiB, for file systems that are slow with many small files.
        short_side: pixels to which a larger short side is reduced; a smaller one stays.
        crf: constant rate factor of x264: lower is better and larger.
        workers: processes that encode, with one thread each; one for each CPU where not given.
        timeout: seconds after which a clip counts as hung and its process is killed.
        verify: compare all bytes of the originals with those that were copied, not size, time and a sample.

    Returns:
        0, or 1 where a clip is damaged. Re-encoding decodes every frame; bytes that are copied as they are need only
        open as a video.

    Raises:
        ValueError: nothing to do, no clips, too little room, or a folder that holds something else.
        FileNotFoundError: videos are missing.
    """
    if not (reencode or tar):
        raise ValueError(
            "reencode=false without tar=true would only copy files; give one of the two"
        )
    profile = Profile(short_side, crf) if reencode else None
    originals = _originals(data)
    settings = {"tar": tar, "profile": asdict(profile) if profile else None}
    _claim(output, originals, settings)
    console = Console()
    try:
        is_done = (output / INDEX).exists()
        if not is_done or _damaged(output, originals, console, verify=verify):
            copy = CopyInProgress(output, originals, profile, tar=tar)
            workers = cpus() if workers is None else workers
            _run(copy, output, workers=workers, timeout=timeout, console=console)
            copy.finish()
        return report(output, originals, console)
    except KeyboardInterrupt:
        line = f"stopped; the same command goes on in {output}"
        console.print(cell(line), soft_wrap=True)
        return 130


def _originals(data: VideoDataModule) -> dict[str, Path]:
    """Return the videos of all splits by name."""
    splits: tuple[Split, ...] = get_args(Split)
    originals: dict[str, Path] = {}
    # Where they are themselves, not in a copy that an earlier run made.
    files = replace(data.files, ingested=None)
    for split in splits:
        located = files.located(data.clips(split), split, data.root)
        if located.absent:
            print(visible(located.absent))
        for path, key in located.keys.items():
            originals[key] = Path(path)
    if not originals:
        raise ValueError(f"{type(data).__name__}: lists no clips")
    return originals


def _claim(
    output: Path, originals: Mapping[str, Path], settings: dict[str, Any]
) -> None:
    """Note what the folder is a copy of and how it is made, or compare with what it notes."""
    names = "\n".join(sorted(originals)).encode(ENCODING, ERRORS)
    digest = hashlib.sha256(names).hexdigest()
    record = {"clips": len(originals), "names": digest} | settings
    output.mkdir(parents=True, exist_ok=True)
    path = output / _RECORD
    if not any(output.iterdir()):
        path.write_bytes(to_json(record, indent=1))
    if not path.is_file():
        raise ValueError(
            f"{output}: is neither empty nor an ingested copy; name another folder"
        )
    found = read_json(path, most=1 << 16)
    if not isinstance(found, dict):
        raise ValueError(
            f"{path}: is no record of an ingested copy; name another folder"
        )
    before = cast(dict[str, Any], found)
    differs: list[str] = []
    for name, value in record.items():
        if before.get(name) != value:
            differs.append(f"{name} {before.get(name)}, now {value}")
    if differs:
        raise ValueError(
            f"{output}: is a copy of other clips or made otherwise: "
            f"{'; '.join(differs)}; name another folder"
        )


def _damaged(
    output: Path, originals: Mapping[str, Path], console: Console, *, verify: bool
) -> bool:
    """Delete the files of clips that differ from their checksum or whose original changed; they are made again."""
    entries = list(read_index(output))
    damaged: dict[Path, str] = {}
    for entry in of_others(entries, originals, verify=verify):
        original = originals[entry.path]
        damaged[output / entry.file] = (
            f"{original}: is not the video that was copied"
        )
    for entry in track(entries, "Checking clips", console=console):
        try:
            check(inside(output, entry.file), entry)
        except (FileNotFoundError, ValueError) as error:
            damaged.setdefault(output / entry.file, str(error))
    for path, reason in damaged.items():
        console.print(cell(f"{reason}: it is made again"), soft_wrap=True)
        path.unlink(missing_ok=True)
    # Last, so that a run that is stopped here finds the damage again.
    if damaged:
        (output / INDEX).unlink()
    return bool(damaged)


def _run(
    copy: CopyInProgress,
    output: Path,
    *,
    workers: int,
    timeout: int | float,
    console: Console,
) -> None:
    """Copy what is left: first a few clips from all over, which tell how much room the others will need."""
    tasks = copy.tasks()
    first = tasks[:: max(4, len(tasks) // _SAMPLE)]
    chosen = {task.name for task in first}
    rest = [task for task in tasks if task.name not in chosen]
    with progress("clips", console=console) as shown:
        bar = shown.add_task("Copying clips", total=len(tasks))
        for some in (first, rest):
            _check_room(copy, output, len(some), console)
            for outcome in outcomes(
                copy_clip, some, workers=workers, timeout=timeout
            ):
                if outcome.failure == "raised":
                    raise ValueError(f"{outcome.item.original}: {outcome.reason}")
                copy.add(
                    outcome.result or keep(outcome.item, "damaged", outcome.reason)
                )
                shown.advance(bar)


def _check_room(
    copy: CopyInProgress, output: Path, left: int, console: Console
) -> None:
    """Foresee the bytes of the clips that are left from the mean of those that are done.

    Raises:
        ValueError: there is less room than a tenth more than that, and an open shard.
    """
    if not copy.done or not left:
        return
    needed = left * sum(entry.size for entry in copy.done) // len(copy.done)
    free = shutil.disk_usage(output).free
    foreseen = (
        f"{left} more clips will take about {decimal(needed)}; {decimal(free)} are "
        f"free in {output}"
    )
    console.print(cell(foreseen), soft_wrap=True)
    if free < 1.1 * needed + min(copy.spare, needed):
        raise ValueError(
            f"{output}: {left} more clips need about {decimal(needed)} and some "
            f"to spare, {decimal(free)} are free; "
            "make room and give the same command again, or begin a smaller one "
            "(crf, short_side) elsewhere"
        )
