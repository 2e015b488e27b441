"""An ingested copy of a data set: a folder with ``index.csv`` and either files or tar shards.

A clip keeps the name that it has in a manifest (:func:`data_modules.storage.manifest.key`): the path of the original
from the root of its data set. In a shard it is a range of bytes that FFmpeg reads in place, so that no Python takes
part in reading and nothing is unpacked. Shards are plain tar files (POSIX pax): ``tar tf`` lists them, ``tar xf``
gives the files back. Nothing is ever written to again.
"""

import csv
import hashlib
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args, get_type_hints

from data_modules.io.atomic import atomic_write
from data_modules.io.names import ENCODING, ERRORS, to_csv
from data_modules.io.untrusted import inside
from data_modules.storage.content import Content, changed, present, told
from data_modules.video.source import Source

INDEX = "index.csv"
_BLOCK = (
    512  # of a tar file, bytes: a header takes one, contents are padded to whole ones
)

Status = Literal["encoded", "copied", "kept", "damaged"]


class Entry(NamedTuple):
    """One clip of the copy, a line of ``index.csv``.

    Attributes:
        path: of the original, from the root of its data set; a file or a folder of frame images.
        file: that holds the copy, from the folder of the copy.
        start: first byte in ``file``; 0 where the copy is a file of its own.
        size: of the copy, bytes.
        num_frames: of the clip; 0 where it is damaged.
        sha256: of the copy's bytes.
        status: ``encoded``, ``copied`` on request, ``kept`` as it was because encoding it was not faithful, or
            ``damaged``: the original does not decode, and the copy is as bad.
        reason: why it was kept, or what is damaged.
        psnr: of the copy's luma against the original at the copy's size, decibels; infinite for equal bytes.
        source_size: of the original, bytes.
        seconds: how long the clip lasts.
        original: what was in the original; None in an index of an earlier version.
    """

    path: str
    file: str
    start: int
    size: int
    num_frames: int
    sha256: str
    status: Status
    reason: str
    psnr: float
    source_size: int
    seconds: float
    original: Content | None = None


def of_others(
    entries: Sequence[Entry], originals: Mapping[str, Path], *, verify: bool = False
) -> list[Entry]:
    """Return the entries whose original is not the one that was copied, or is gone; an old entry does not know."""
    knowing = [entry for entry in entries if entry.original]
    places = [originals[entry.path] for entry in knowing]
    return [
        knowing[number]
        for number in changed(
            places, [entry.original for entry in knowing], verify=verify
        )
    ]


class Storage:
    """Finds the clips of a data set in an ingested copy of it.

    Args:
        folder: what ``lightning-petl data ingest`` wrote.

    Attributes:
        damaged: reason by name, of the clips whose originals do not decode.

    Raises:
        FileNotFoundError: no index in it, or a shard is missing.
        ValueError: the index cannot be read, names a file outside the folder, or a shard is shorter than it says.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        entries = list(read_index(self._folder))
        self._places = {
            entry.path: (entry.file, entry.start, entry.size) for entry in entries
        }
        self._encoded = {entry.path for entry in entries if entry.status == "encoded"}
        self._originals = {
            entry.path: entry.original for entry in entries if entry.original
        }
        _refuse_links_outside(self._folder, {entry.file for entry in entries})
        self.damaged = {
            entry.path: entry.reason for entry in entries if entry.status == "damaged"
        }
        ends: dict[str, int] = {}
        for file, start, size in self._places.values():
            if start:
                ends[file] = max(ends.get(file, 0), start + size)
        for file, end in ends.items():
            _check_shard(self._folder / file, end)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Names of the clips."""
        return iter(self._places)

    def __contains__(self, relative: str) -> bool:
        """Whether the copy holds the clip whose original is at ``relative`` from the root."""
        return relative in self._places

    def require_originals(self, originals: Mapping[str, Path]) -> None:
        """Compare the originals that are at hand with those that were copied, by size, time and a sample.

        Args:
            originals: their places by name; what is not there any more is not compared.

        Raises:
            ValueError: some are others.
        """
        names = [name for name in originals if name in self._originals]
        names = [
            name
            for name, there in zip(
                names, present([originals[name] for name in names]), strict=True
            )
            if there
        ]
        others = changed(
            [originals[name] for name in names],
            [self._originals[name] for name in names],
        )
        if others:
            raise ValueError(
                f"{self._folder}: {told(others, names, 'originals', 'were copied')}; run the same `lightning-petl data "
                "ingest` again, which copies them anew, or move them away if the copy is right"
            )

    def source(self, relative: str) -> Source:
        """Where the copy of the clip at ``relative``, from the root of the data set, is read.

        Raises:
            ValueError: the copy does not hold the clip.
        """
        if relative not in self._places:
            raise ValueError(
                f"{self._folder / INDEX}: has no clip {relative!r} among its {len(self)}"
                f"{f', such as {next(iter(self._places))!r}' if self._places else ''}: it is the copy of another data "
                "set or of an earlier list; run `lightning-petl data ingest` on this one, to a new folder"
            )
        file, start, size = self._places[relative]
        verified = size if relative in self._encoded else None
        return Source(self._folder / file, start, size if start else None, verified)


def read_index(folder: Path) -> Iterator[Entry]:
    """The lines of the index.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a line that is no entry.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; run `lightning-petl data ingest` (again, if it was stopped)"
        )
    with path.open(newline="", encoding=ENCODING, errors=ERRORS) as file:
        rows = csv.reader(file)
        try:
            if tuple(next(rows, ())) not in (Entry._fields, Entry._fields[:-1]):
                raise ValueError(f"expected the columns {','.join(Entry._fields)}")
            for row in rows:
                yield parse(row)
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"{path}, line {rows.line_num}: {error}; ingest again to a new folder"
            ) from error


def write_index(folder: Path, entries: Iterable[Entry]) -> None:
    """Write the index, whole or not at all."""
    with atomic_write(folder / INDEX) as partial:
        partial.write_bytes(to_csv([Entry._fields, *entries]))


def parse(row: list[str]) -> Entry:
    """An entry from its texts.

    Raises:
        ValueError: too few or too many, no number where one is due, or a file outside the folder.
    """
    if len(row) not in (len(Entry._fields), len(Entry._fields) - 1):
        raise ValueError(f"expected {len(Entry._fields)} values, got {len(row)}")
    entry = Entry(
        *(of_text(text) for of_text, text in zip(_OF_TEXT, row, strict=False))
    )
    if min(entry.start, entry.size, entry.num_frames, entry.source_size) < 0:
        raise ValueError(f"expected counts of 0 or more, got {row[2:5]}")
    if (
        not entry.file
        or entry.file.startswith("/")
        or ".." in entry.file.split("/")
        or "\0" in entry.file
    ):
        raise ValueError(
            f"the file {entry.file[:200]!r} does not lie in the folder of the copy"
        )
    return entry


def _content(text: str) -> Content | None:
    return Content.parse(text) if text else None


def _status(text: str) -> Status:
    if text not in get_args(Status):
        raise ValueError(
            f"expected one of {', '.join(get_args(Status))}, got {text[:80]!r}"
        )
    return cast(Status, text)


_KINDS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    Status: _status,
    Content | None: _content,
}
_OF_TEXT = [_KINDS[kind] for kind in get_type_hints(Entry).values()]


def packed_size(size: int) -> int:
    """Bytes that a file of ``size`` bytes takes in a shard."""
    return _BLOCK + -(-size // _BLOCK) * _BLOCK


def write_shard(
    path: Path, entries: Sequence[Entry], files: Sequence[Path]
) -> list[Entry]:
    """Pack ``files`` as a tar file in order, read it back, and only then give it its name.

    Returns:
        The entries with the shard as their file and their place in it.

    Raises:
        ValueError: a file is not what its entry says.
    """
    with atomic_write(path) as partial:
        _pack(partial, entries, files)
        placed = shard_places(partial, entries)
        for entry in placed:
            check(partial, entry)
    return [entry._replace(file=path.name) for entry in placed]


def _pack(path: Path, entries: Sequence[Entry], files: Sequence[Path]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as shard:
        for entry, file in zip(entries, files, strict=True):
            header = tarfile.TarInfo(
                entry.file
            )  # no owner and no date: the same clips give the same bytes
            header.size = entry.size
            with file.open("rb") as content:
                shard.addfile(header, content)


def shard_places(path: Path, entries: Sequence[Entry]) -> list[Entry]:
    """The entries with the place of each in the tar file at ``path``, which holds them and nothing else.

    Raises:
        ValueError: it holds something else.
    """
    with tarfile.open(path) as shard:
        members = shard.getmembers()
    if [(member.name, member.size) for member in members] != [
        (entry.file, entry.size) for entry in entries
    ]:
        raise ValueError(
            f"{path}: does not hold the {len(entries)} clips that it should; delete it and ingest again"
        )
    return [
        entry._replace(file=path.name, start=member.offset_data)
        for entry, member in zip(entries, members, strict=True)
    ]


def check(path: Path, entry: Entry) -> None:
    """Compare the bytes of a clip with its checksum.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: other bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing; it holds {entry.path}")
    if entry.start + entry.size > path.stat().st_size:
        raise ValueError(
            f"{path}: is shorter than {entry.path} in it, which ends at {entry.start + entry.size}"
        )
    with path.open("rb") as file:
        file.seek(entry.start)
        found = hashlib.sha256(file.read(entry.size)).hexdigest()
    if found != entry.sha256:
        raise ValueError(
            f"{path}: the bytes of {entry.path}, {entry.size} from {entry.start}, are not those written"
        )


def _refuse_links_outside(folder: Path, files: set[str]) -> None:
    """Look into each folder once: to follow every path of a hundred thousand takes minutes on a network disk."""
    for parent in {file.rpartition("/")[0] for file in files}:
        place = inside(folder, parent) if parent else folder
        if place.is_dir():
            with os.scandir(place) as entries:
                links = [entry.name for entry in entries if entry.is_symlink()]
            for name in links:
                inside(folder, f"{parent}/{name}" if parent else name)


def _check_shard(path: Path, end: int) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the shard is missing; copy it here again, or ingest again to a new folder"
        )
    if path.stat().st_size < end:
        raise ValueError(
            f"{path}: the shard has {path.stat().st_size} bytes, and its last clip ends at {end}; copy it again"
        )
