"""What a video file holds, in a few numbers: whether what was made of a file still is of that file.

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

_BLOCK, _BLOCKS = 1 << 14, 4  # bytes; parts of a file that are in its sample
_PICTURES = 16  # of a folder, whose bytes are in its sample
_THREADS = 16  # a look at a file of a network disk is waiting
_SECOND = 10**9
_TEXT = re.compile(r"(\d{1,19}) (-?\d{1,19}) ([0-9a-f]{64}) ([0-9a-f]{64})", re.ASCII)


class Content(NamedTuple):
    """What tells a video from another one of the same name.

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
        """Four words, which :meth:`parse` reads."""
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


@runtime_checkable
class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def content_of(place: Place) -> Content:
    """Read a video whole.

    Raises:
        OSError: it cannot be read.
    """
    size, modified = _stat(place)
    return Content(size, modified, sample_of(place), sha256_of(place))


def contents_of(places: Sequence[Place]) -> Iterator[Content | None]:
    """:func:`content_of` of each, in order; None where it cannot be read."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(_or_none(content_of), places)


def present(places: Sequence[Place]) -> list[bool]:
    """Tell which videos are there."""
    return [found is not None for found in _stats(places)]


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
    stats = _stats(places)
    numbers = [
        n for n, entry in enumerate(held) if entry is not None and stats[n] is not None
    ]
    same_size = [n for n in numbers if _pair(held, stats, n)[0]]
    other_time = [n for n in same_size if not _pair(held, stats, n)[1]]
    others = sorted(set(same_size) - set(other_time))
    spots = random.Random(len(places)).sample(others, min(SPOT_CHECKS, len(others)))
    found = set(range(len(places))) - set(same_size)
    return sorted(
        found
        | set(_differing(places, held, [*other_time, *spots], sample_of, "sample"))
    )


def told(numbers: Sequence[int], names: Sequence[str], what: str, made: str) -> str:
    """Return a sentence that counts the changed videos and names the first ones.

    ``told([1], ["a", "b"], "videos", "the cache was built from")`` is "1 of 2 videos are not those that the cache was
    built from: b".
    """
    first = ", ".join(names[number] for number in numbers[:5]) + (
        ", ..." if len(numbers) > 5 else ""
    )
    return f"{len(numbers)} of {len(names)} {what} are not those that {made}: {first}"


def same(place: Place, held: Content) -> bool:
    """Tell whether one video is still the one of which ``held`` was made, by its size and its sample."""
    return _differing([place], [held], [0], sample_of, "sample") == []


def sample_of(place: Place) -> str:
    """Return the SHA-256 of the size and of some blocks of a file, or of names, sizes and some images of a folder.

    Raises:
        OSError: it cannot be read.
    """
    source, digest = _source(place), hashlib.sha256()
    if not source.path.is_dir():
        _add_sample(digest, source)
        return digest.hexdigest()
    images = _images(source.path)
    for image in images:
        digest.update(os.fsencode(f"{image.name}/{image.stat().st_size}/"))
    for number in range(min(_PICTURES, len(images))):
        _add_sample(
            digest, Source(images[number * len(images) // min(_PICTURES, len(images))])
        )
    return digest.hexdigest()


def sha256_of(place: Place) -> str:
    """Return the SHA-256 of all bytes of a file, or of the names and bytes of all images of a folder.

    Raises:
        OSError: it cannot be read.
    """
    source, digest = _source(place), hashlib.sha256()
    if not source.path.is_dir():
        _add_all(digest, source)
        return digest.hexdigest()
    for image in _images(source.path):
        digest.update(os.fsencode(f"{image.name}/{image.stat().st_size}/"))
        _add_all(digest, Source(image))
    return digest.hexdigest()


def _differing(
    places: Sequence[Place],
    held: Sequence[Content | None],
    numbers: Iterable[int],
    function: Callable[[Place], str],
    field: str,
) -> list[int]:
    chosen = list(numbers)
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(
            pool.map(_or_none(function), [places[number] for number in chosen])
        )
    return [
        n
        for n, value in zip(chosen, found, strict=True)
        if value is None or value != getattr(held[n], field, "")
    ]


def _pair(
    held: Sequence[Content | None], stats: Sequence[tuple[int, int] | None], number: int
) -> tuple[bool, bool]:
    """Whether size and time of a video are the same."""
    before, now = held[number], stats[number]
    assert before is not None
    assert now is not None
    return before.size == now[0], same_time(before.modified, now[1])


def same_time(one: int, other: int) -> bool:
    """Compare two times, nanoseconds; archives keep whole seconds."""
    whole = one % _SECOND == 0 or other % _SECOND == 0
    return one == other or (whole and one // _SECOND == other // _SECOND)


def _stats(places: Sequence[Place]) -> list[tuple[int, int] | None]:
    """Size and time of each; every file is looked at once, however many clips are parts of it."""
    paths = list(dict.fromkeys(_source(place).path for place in places))
    chunks = [paths[start::_THREADS] for start in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(_stats_of, chunks))
    by_path = dict[Path, tuple[int, int] | None]()
    for chunk, stats in zip(chunks, found, strict=True):
        by_path.update(zip(chunk, stats, strict=True))
    return [_of_part(_source(place), by_path[_source(place).path]) for place in places]


def _stats_of(paths: Sequence[Path]) -> list[tuple[int, int] | None]:
    return [_or_none(_stat)(path) for path in paths]


def _of_part(source: Source, whole: tuple[int, int] | None) -> tuple[int, int] | None:
    if whole is None or source.size is None:
        return whole
    return (source.size, whole[1]) if source.start + source.size <= whole[0] else None


def _stat(place: Place) -> tuple[int, int]:
    source = _source(place)
    status = source.path.stat()
    if stat.S_ISDIR(status.st_mode):
        return len(_images(source.path)), status.st_mtime_ns
    if not stat.S_ISREG(status.st_mode):
        raise OSError(
            errno.EINVAL, "is no file", str(source.path)
        )  # reading a pipe would never end
    return status.st_size if source.size is None else source.size, status.st_mtime_ns


def _images(folder: Path) -> list[Path]:
    with os.scandir(
        folder
    ) as entries:  # which says without another look what is a file
        return sorted(Path(entry.path) for entry in entries if entry.is_file())


def _source(place: Place) -> Source:
    return place if isinstance(place, Source) else Source(place)


def _add_sample(digest: _Hash, source: Source) -> None:
    _stat(source)  # raises where there is no file
    with source.path.open("rb") as file:
        size = (
            os.fstat(file.fileno()).st_size - source.start
            if source.size is None
            else source.size
        )
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
        left = os.fstat(file.fileno()).st_size if source.size is None else source.size
        file.seek(source.start)
        while block := file.read(min(left, 1 << 20)):
            digest.update(block)
            left -= len(block)


def _or_none(function: Callable[[T], R]) -> Callable[[T], R | None]:
    def tried(item: T) -> R | None:
        try:
            return function(item)
        except OSError:
            return None

    return tried
