"""Write tar shards of an ingested copy, find the place of each clip in them, and compare clips with their checksums.

A shard is a plain tar file (POSIX pax): ``tar tf`` lists it, ``tar xf`` gives the files back. A clip is a range of its
bytes, which FFmpeg reads in place, so that no Python takes part in reading and nothing is unpacked. A shard is never
written to again.

    bytes        0        512                        512 * k        512 * (k + 1)
    shard        | header | clip 0, padded to blocks | header       | clip 1 ...
    entry 0                 start = 512, size = its bytes without padding
"""

import hashlib
import tarfile
from collections.abc import Sequence
from pathlib import Path

from data_modules.io.atomic import atomic_write
from data_modules.storage.copy_index import CopyEntry

# Of a tar file, bytes: a header takes one block, contents are padded to whole ones.
_BLOCK = 512


def packed_size(size: int) -> int:
    """Return how many bytes a file of ``size`` bytes takes in a shard.

    Example: 1000 bytes take 512 + 1024.
    """
    return _BLOCK + -(-size // _BLOCK) * _BLOCK


def write_shard(
    path: Path, entries: Sequence[CopyEntry], files: Sequence[Path]
) -> list[CopyEntry]:
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


def _pack(path: Path, entries: Sequence[CopyEntry], files: Sequence[Path]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as shard:
        for entry, file in zip(entries, files, strict=True):
            # Without owner and date, so that the same clips give the same bytes.
            header = tarfile.TarInfo(entry.file)
            header.size = entry.size
            with file.open("rb") as content:
                shard.addfile(header, content)


def shard_places(path: Path, entries: Sequence[CopyEntry]) -> list[CopyEntry]:
    """Return the entries with the place of each in the tar file at ``path``, which holds them and nothing else.

    Raises:
        ValueError: it holds something else.
    """
    with tarfile.open(path) as shard:
        members = shard.getmembers()
    # One that holds more or fewer is not right, either.
    right = len(members) == len(entries)
    placed: list[CopyEntry] = []
    for entry, member in zip(entries, members, strict=False):
        right = right and (member.name, member.size) == (entry.file, entry.size)
        placed.append(entry._replace(file=path.name, start=member.offset_data))
    if not right:
        raise ValueError(
            f"{path}: does not hold the {len(entries)} clips "
            "that it should; delete it and ingest again"
        )
    return placed


def check(path: Path, entry: CopyEntry) -> None:
    """Compare the bytes of a clip with its checksum.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: other bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing; it holds {entry.path}")
    end = entry.start + entry.size
    if end > path.stat().st_size:
        raise ValueError(
            f"{path}: is shorter than {entry.path} in it, which ends at {end}"
        )
    with path.open("rb") as file:
        file.seek(entry.start)
        found = hashlib.sha256(file.read(entry.size)).hexdigest()
    if found != entry.sha256:
        raise ValueError(
            f"{path}: the bytes of {entry.path}, {entry.size} "
            f"from {entry.start}, are not those written"
        )
