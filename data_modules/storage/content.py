"""Describe a video file in a few numbers, which tell whether what was made of a file still is of that file.

A cache, a copy and a manifest keep a :class:`Content` of each video. A file of the same size and time is taken for the
same. One of another time, as after a copy, is the same if its size and a sample of its bytes are. So a check at the
start of a training costs one look at each file's entry, and reads little.
"""

import errno
import hashlib
import os
import random
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from data_modules.video.source import Source

Place = Path | Source
T = TypeVar("T")
R = TypeVar("R")

SPOT_CHECKS = 64
"""Videos whose sample is compared although their size and time are the same."""

_BLOCK = 1 << 14  # bytes
_BLOCKS = 4  # of a file, which are in its sample
_PICTURES = 16  # of a folder, whose bytes are in its sample
_THREADS = 16  # to look at a file of a network disk is to wait
_SECOND = 10**9  # nanoseconds
_TEXT = re.compile(
    r"(\d{1,19}) (-?\d{1,19}) ([0-9a-f]{64}) ([0-9a-f]{64})", re.ASCII
)


class Content(NamedTuple):
    """Tell a video from another one of the same name.

    Attributes:
        size: bytes; of a folder of images, the number of files.
        modified: nanoseconds since 1970; of a part of a file, that of the file.
        sample: SHA-256 of the size and of 64 KiB from all over the file.
        sha256: of all bytes; of a folder of images, of all names and bytes.
    """

    size: int
    modified: int
    sample: str
    sha256: str

    def __str__(self) -> str:
        """Return four words, which :meth:`parse` reads."""
        return " ".join(map(str, tuple(self)))

    @classmethod
    def parse(cls, text: str) -> "Content":
        """Return what :meth:`__str__` wrote.

        Raises:
            ValueError: it is something else.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"expected size, time and two checksums, got {text[:80]!r}"
            )
        return cls(int(match[1]), int(match[2]), match[3], match[4])


class _Entry(NamedTuple):
    """Hold what the file system says of a file: its size, bytes, and its time, nanoseconds."""

    size: int
    modified: int


class _File(NamedTuple):
    """Hold a file that is read for a checksum, and the bytes that go before it: in a folder, its name and size."""

    source: Source
    label: bytes


@runtime_checkable
class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def content_of(place: Place) -> Content:
    """Read a video whole, and return what it holds.

    Raises:
        OSError: it cannot be read.
    """
    entry = _entry(place)
    files = _files(place)
    return Content(entry.size, entry.modified, _sample(files), _sha256(files))


def contents_of(places: Sequence[Place]) -> Iterator[Content | None]:
    """Yield :func:`content_of` of each, in order; None where it cannot be read."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(_or_none(content_of), places)


def sample_of(place: Place) -> str:
    """Return the SHA-256 of the size and of some blocks of a file, or of names, sizes and some images of a folder.

        bytes of a file   |====|        |====|        |====|        |====|       four blocks of 16 KiB
        images            0     1     2     3     4  ...                        16 of them, evenly

    Raises:
        OSError: it cannot be read.
    """
    return _sample(_files(place))


def sha256_of(place: Place) -> str:
    """Return the SHA-256 of all bytes of a file, or of the names and bytes of all images of a folder.

    Raises:
        OSError: it cannot be read.
    """
    return _sha256(_files(place))


def present(places: Sequence[Place]) -> list[bool]:
    """Tell of each video whether it is there."""
    return [found is not None for found in _entries(places)]


def changed(
    places: Sequence[Place], held: Sequence[Content | None], *, verify: bool = False
) -> list[int]:
    """Return the numbers of the videos that are not those of which ``held`` was made, or cannot be read.

    Args:
        places: where they are now.
        held: what was in them, in the same order; None equals nothing.
        verify: read and compare all bytes.
    """
    if verify:
        return _differing(places, held, range(len(places)), sha256_of, "sha256")
    found: list[int] = []
    same_times: list[int] = []
    other_times: list[int] = []
    both = zip(held, _entries(places), strict=True)
    for number, (before, now) in enumerate(both):
        if before is None or now is None or before.size != now.size:
            found.append(number)
        elif same_time(before.modified, now.modified):
            same_times.append(number)
        else:
            other_times.append(number)
    # Drawn from the number of videos: the same ones in every run, so that one that differs is not found by chance.
    draw = random.Random(len(places))
    spots = draw.sample(same_times, min(SPOT_CHECKS, len(same_times)))
    read = [*other_times, *spots]
    return sorted(found + _differing(places, held, read, sample_of, "sample"))


def describe_changed(
    numbers: Sequence[int], names: Sequence[str], what: str, made: str
) -> str:
    """Return a sentence that counts the changed videos and names the first ones.

    ``describe_changed([1], ["a", "b"], "videos", "the cache was built from")`` is "1 of 2 videos are not those that
    the cache was built from: b".
    """
    first = ", ".join(names[number] for number in numbers[:5])
    dots = ", ..." if len(numbers) > 5 else ""
    return f"{len(numbers)} of {len(names)} {what} are not those that {made}: {first}{dots}"


def same_time(one: int, other: int) -> bool:
    """Tell whether two times, nanoseconds, are equal; archives keep whole seconds."""
    if one == other:
        return True
    whole = one % _SECOND == 0 or other % _SECOND == 0
    return whole and one // _SECOND == other // _SECOND


def _differing(
    places: Sequence[Place],
    held: Sequence[Content | None],
    numbers: Iterable[int],
    checksum: Callable[[Place], str],
    field: str,
) -> list[int]:
    """Return those of ``numbers`` whose checksum is not what ``field`` of ``held`` says."""
    chosen = list(numbers)
    with ThreadPoolExecutor(_THREADS) as pool:
        values = pool.map(_or_none(checksum), map(places.__getitem__, chosen))
        found: list[int] = []
        for number, value in zip(chosen, values, strict=True):
            if value is None or value != getattr(held[number], field, ""):
                found.append(number)
        return found


def _entries(places: Sequence[Place]) -> list[_Entry | None]:
    """Return the entry of each; every file is looked at once, however many clips are parts of it."""
    sources = list(map(_source, places))
    paths = list(dict.fromkeys(source.path for source in sources))
    # A task for each of 100,000 files would cost more than to look at them, so each thread takes its share at once.
    shares = [paths[start::_THREADS] for start in range(_THREADS)]
    by_path: dict[Path, _Entry | None] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for share, found in zip(shares, pool.map(_entries_of, shares), strict=True):
            by_path.update(zip(share, found, strict=True))
    return [_of_part(source, by_path[source.path]) for source in sources]


def _entries_of(paths: Sequence[Path]) -> list[_Entry | None]:
    return list(map(_or_none(_entry), paths))


def _of_part(source: Source, whole: _Entry | None) -> _Entry | None:
    """Return the entry of a part of a file; None where the file ends before it."""
    if whole is None or source.size is None:
        return whole
    if source.start + source.size > whole.size:
        return None
    return _Entry(source.size, whole.modified)


def _entry(place: Place) -> _Entry:
    source = _source(place)
    status = source.path.stat()
    if stat.S_ISDIR(status.st_mode):
        return _Entry(len(_images(source.path)), status.st_mtime_ns)
    if not stat.S_ISREG(status.st_mode):
        # To read a pipe would never end.
        raise OSError(errno.EINVAL, "is no file", str(source.path))
    size = status.st_size if source.size is None else source.size
    return _Entry(size, status.st_mtime_ns)


def _files(place: Place) -> list[_File]:
    """Return the files of a video, in the order in which checksums take them."""
    source = _source(place)
    if not source.path.is_dir():
        return [_File(source, b"")]
    files: list[_File] = []
    for image in _images(source.path):
        label = os.fsencode(f"{image.name}/{image.stat().st_size}/")
        files.append(_File(Source(image), label))
    return files


def _images(folder: Path) -> list[Path]:
    # ``scandir`` says without another look what is a file.
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_file())


def _source(place: Place) -> Source:
    return place if isinstance(place, Source) else Source(place)


def _sample(files: Sequence[_File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.label)
    count = min(_PICTURES, len(files))
    for number in range(count):
        _add_sample(digest, files[number * len(files) // count].source)
    return digest.hexdigest()


def _sha256(files: Sequence[_File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.label)
        _add_all(digest, file.source)
    return digest.hexdigest()


def _add_sample(digest: _Hash, source: Source) -> None:
    _entry(source)  # raises where there is no file
    with source.path.open("rb") as file:
        size = source.size
        if size is None:
            size = os.fstat(file.fileno()).st_size - source.start
        digest.update(f"{size}/".encode())
        if size <= _BLOCK * _BLOCKS:
            file.seek(source.start)
            digest.update(file.read(size))
            return
        for number in range(_BLOCKS):
            file.seek(source.start + number * (size - _BLOCK) // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))


def _add_all(digest: _Hash, source: Source) -> None:
    with source.path.open("rb") as file:
        left = (
            os.fstat(file.fileno()).st_size if source.size is None else source.size
        )
        file.seek(source.start)
        # Not the whole file at once: clips of a data set may be films.
        while block := file.read(min(left, 1 << 20)):
            digest.update(block)
            left -= len(block)


def _or_none(function: Callable[[T], R]) -> Callable[[T], R | None]:
    """Return a function that gives None where ``function`` raises an OSError."""

    def tried(item: T) -> R | None:
        try:
            return function(item)
        except OSError:
            return None

    return tried
