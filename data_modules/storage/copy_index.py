"""Read and write the index of an ingested copy: ``index.csv``, a line for each clip.

A clip keeps the name that it has in a manifest (:func:`data_modules.storage.manifest.key`): the path of the original
from the root of its data set.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args, get_type_hints

from data_modules.io.atomic import atomic_write
from data_modules.io.names import ENCODING, ERRORS, to_csv
from data_modules.storage.content import Content, changed

INDEX = "index.csv"
CopyStatus = Literal["encoded", "copied", "kept", "damaged"]


class CopyEntry(NamedTuple):
    """Describe one clip of the copy: a line of ``index.csv``.

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
    status: CopyStatus
    reason: str
    psnr: float
    source_size: int
    seconds: float
    original: Content | None = None


_COLUMNS = CopyEntry._fields
# An earlier version did not write the last column.
_EARLIER_COLUMNS = _COLUMNS[:-1]


def of_others(
    entries: Sequence[CopyEntry],
    originals: Mapping[str, Path],
    *,
    verify: bool = False,
) -> list[CopyEntry]:
    """Return the entries whose original is not the one that was copied, or is gone; an old entry does not know.

    Args:
        entries: of the copy.
        originals: places by the names of clips.
        verify: compare all bytes.
    """
    knowing: list[CopyEntry] = []
    places: list[Path] = []
    copied: list[Content] = []
    for entry in entries:
        if entry.original:
            knowing.append(entry)
            places.append(originals[entry.path])
            copied.append(entry.original)
    return [knowing[number] for number in changed(places, copied, verify=verify)]


def read_index(folder: Path) -> Iterator[CopyEntry]:
    """Yield the lines of the index.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a line that is no entry.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; run `lightning-petl "
            "data ingest` (again, if it was stopped)"
        )
    with path.open(newline="", encoding=ENCODING, errors=ERRORS) as file:
        rows = csv.reader(file)
        try:
            if tuple(next(rows, ())) not in (_COLUMNS, _EARLIER_COLUMNS):
                raise ValueError(f"expected the columns {','.join(_COLUMNS)}")
            for row in rows:
                yield parse(row)
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"{path}, line {rows.line_num}: {error}; ingest again to a new folder"
            ) from error


def write_index(folder: Path, entries: Iterable[CopyEntry]) -> None:
    """Write the index, whole or not at all."""
    with atomic_write(folder / INDEX) as partial:
        partial.write_bytes(to_csv([_COLUMNS, *entries]))


def parse(row: list[str]) -> CopyEntry:
    """Return an entry from its texts.

    Raises:
        ValueError: too few or too many, no number where one is due, or a file outside the folder.
    """
    if len(row) not in (len(_COLUMNS), len(_EARLIER_COLUMNS)):
        raise ValueError(f"expected {len(_COLUMNS)} values, got {len(row)}")
    values: list[Any] = []
    for of_text, text in zip(_OF_TEXT, row, strict=False):  # may lack the last one
        values.append(of_text(text))
    entry = CopyEntry(*values)
    if min(entry.start, entry.size, entry.num_frames, entry.source_size) < 0:
        raise ValueError(f"expected counts of 0 or more, got {row[2:5]}")
    # A copy may come from elsewhere: its index must not name files of the machine that reads it.
    leads_outside = entry.file.startswith("/") or ".." in entry.file.split("/")
    if not entry.file or leads_outside or "\0" in entry.file:
        raise ValueError(
            f"the file {entry.file[:200]!r} does not lie in the folder of the copy"
        )
    return entry


def _content(text: str) -> Content | None:
    return Content.parse(text) if text else None


def _status(text: str) -> CopyStatus:
    statuses = get_args(CopyStatus)
    if text not in statuses:
        raise ValueError(
            f"expected one of {', '.join(statuses)}, got {text[:80]!r}"
        )
    return cast(CopyStatus, text)


_KINDS: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    CopyStatus: _status,
    Content | None: _content,
}
# What makes a value of each column's text, in the order of the columns.
_OF_TEXT = list(map(_KINDS.__getitem__, get_type_hints(CopyEntry).values()))
