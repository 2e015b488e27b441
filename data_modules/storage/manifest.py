"""Read and write what is known of the files of a data set: a CSV beside its annotation, one line a file.

A line is added by one write at the end of the file, so that several processes may add to it and a stop at any time
costs at most the line it cut. Of two lines about one file the later one holds; a line that cannot be read counts as
not there.
"""

import csv
import io
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from data_modules.io.names import ENCODING, ERRORS, to_csv
from data_modules.storage.content import sample_of
from data_modules.video.decode import VideoInfo

NAME = "manifest.csv"
FileStatus = Literal["ok", "bad", "missing", "hung"]
_STATUSES: tuple[FileStatus, ...] = get_args(FileStatus)
_LONGEST_NAME = 16  # lines


class Stamp(NamedTuple):
    """Tell a file from a later one of the same name.

    Attributes:
        size: bytes; of a folder of images, their sum.
        modified: seconds since 1970, whole, as archives keep them.
        sample: see :class:`data_modules.storage.content.Content`; empty where nothing was read.
    """

    size: int
    modified: int
    sample: str = ""


class ManifestEntry(NamedTuple):
    """Hold one line.

    Attributes:
        path: from the root of the data set where it lies inside, see :func:`key`.
        status: ``ok``, every frame decodes; ``bad``, damaged; ``missing``, no such file; ``hung``, no answer in time.
        reason: what is wrong, empty where nothing is.
        stamp: of the file that was probed, None of a missing one.
        info: what a file that is ``ok`` holds, else None.
    """

    path: str
    status: FileStatus
    reason: str = ""
    stamp: Stamp | None = None
    info: VideoInfo | None = None


def key(path: Path, root: Path) -> str:
    """Return the name of a file in the manifest of ``root``: from there where it lies inside, else in full.

    Example: /data/ssv2/a/b.mp4 is a/b.mp4 in the manifest of /data/ssv2.
    """
    if ".." in path.parts:
        # A name never leads out of a folder that is copied under it.
        path = Path(os.path.normpath(path))
        root = Path(os.path.normpath(root))
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.absolute().as_posix()


def stamp(path: Path) -> Stamp | None:
    """Return size and time of a file or of a folder of images; None where there is neither."""
    try:
        status = path.stat()
        size = status.st_size
        if path.is_dir():
            size = sum(entry.stat().st_size for entry in os.scandir(path))
    except OSError:
        return None
    return Stamp(size, int(status.st_mtime))


def sampled(before: Stamp | None, path: Path) -> Stamp | None:
    """Return a stamp with the sample of the file, if that can be read."""
    try:
        return before and before._replace(sample=sample_of(path))
    except OSError:
        return before


def describes(entry: ManifestEntry, path: Path) -> bool:
    """Tell whether an entry is of the file that is at ``path`` now: of its size, its time and, if known, its sample.

    A file that hung is not read, for that may hang again.
    """
    now = stamp(path)
    if entry.stamp is None:
        return False
    return entry.stamp == (sampled(now, path) if entry.stamp.sample else now)


def read(path: Path) -> dict[str, ManifestEntry]:
    """Return every file that the manifest knows, by name; nothing where there is no manifest.

    Raises:
        ValueError: the file is not a manifest of this version.
    """
    if not path.exists():
        return {}
    # Not as CSV at once: after a line that was cut by a stop, the reader would take the next ones for its end.
    header, *lines = path.read_bytes().decode(ENCODING, ERRORS).split("\n")
    if header.rstrip("\r").split(",") != _COLUMNS:
        raise ValueError(
            f"{path}: is no manifest with the columns "
            f"{','.join(_COLUMNS)}; remove it and index again"
        )
    found: dict[str, ManifestEntry] = {}
    for entry in _entries(lines):
        found[entry.path] = entry  # the later one of two holds
    return found


def append(path: Path, entry: ManifestEntry) -> None:
    """Add one line, after a header where the file is new; safe beside other processes that do the same.

    Raises:
        OSError: the file cannot be written; names it and the way out.
    """
    with _writing(path), path.open("ab") as file:
        before = b"" if file.tell() else to_csv([_COLUMNS])
        if _cut(path):
            before = b"\n"
        # One write, which other processes cannot part.
        file.write(before + to_csv([_row(entry)]))


def write(path: Path, entries: Iterable[ManifestEntry]) -> None:
    """Write the whole manifest, sorted by path; the old one stays until the new one is complete.

    Raises:
        OSError: as :func:`append`.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with _writing(path):
            partial.write_bytes(to_csv([_COLUMNS, *map(_row, sorted(entries))]))
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path}: the manifest cannot be written: {error.strerror}; "
            "`data index --output FILE` writes another, "
            "which files.manifest=FILE reads"
        ) from error


_INFO: dict[str, type] = get_type_hints(VideoInfo)
# The reason is last: a line that was cut has too few.
_COLUMNS = ["path", "status", *_INFO, *Stamp._fields, "reason"]


def _row(entry: ManifestEntry) -> list[str]:
    values: dict[str, object] = {
        "path": entry.path,
        "status": entry.status,
        "reason": " ".join(entry.reason.split()),
    }
    if entry.info:
        values |= entry.info._asdict()
    if entry.stamp:
        values |= entry.stamp._asdict()
    return [str(values.get(name, "")) for name in _COLUMNS]


def _cut(path: Path) -> bool:
    """Tell whether the last line has no end."""
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
        return file.read() not in (b"", b"\n")


def _entries(lines: Sequence[str]) -> Iterator[ManifestEntry]:
    """Yield the entries of the lines.

    A name with line breaks takes several lines; where none of these reads as an entry, the first is passed over.
    """
    start = 0
    while start < len(lines):
        longest = min(start + _LONGEST_NAME, len(lines))
        for end in range(start + 1, longest + 1):
            if entry := _read_entry("\n".join(lines[start:end])):
                yield entry
                start = end
                break
        else:
            start += 1


def _read_entry(text: str) -> ManifestEntry | None:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        return _entry(*rows[0]) if len(rows) == 1 else None
    except (csv.Error, TypeError, ValueError):
        return None


def _entry(*row: str) -> ManifestEntry:
    path, status, *measured, size, modified, sample, reason = row
    status = _STATUSES[_STATUSES.index(status)]  # pyright: ignore[reportArgumentType]
    numbers: list[Any] = []
    for kind, text in zip(_INFO.values(), measured, strict=True):
        if status == "ok":
            number = kind(text)
            if isinstance(number, int | float) and not 0 <= number < math.inf:
                raise ValueError(f"{path}: has a number below zero or none")
            numbers.append(number)
    stamp = Stamp(int(size), int(modified), sample) if size else None
    info = VideoInfo(*numbers) if numbers else None
    return ManifestEntry(path, status, reason, stamp, info)
