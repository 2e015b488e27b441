"""Keep on disk what of an ingested copy is done, so that a run that was stopped goes on where it was."""

import csv
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from data_modules.io.atomic import atomic_write
from data_modules.io.names import ENCODING, ERRORS, to_csv
from data_modules.storage.copy_index import CopyEntry, of_others, parse, write_index
from data_modules.storage.shards import packed_size, shard_places, write_shard
from data_modules.storage.transcode import CopyTask, Profile

SHARD = 1 << 30  # bytes, about: 1 GiB


class CopyInProgress:
    """Collect the clips of a data set in a folder, as files or as shards.

    A journal has a line for each clip that is done. With shards, copies wait in a folder of parts until all clips of
    a shard are there; the order of clips in shards is that of their names, whatever the order in which they finish.

        names        a   b   c   d   e
        done             b       d            nothing is packed: ``a`` is not done
        a is done    a   b       d            a and b go into the open shard, which waits for c

    Args:
        folder: of the copy.
        originals: files or folders of frame images by the clip's name.
        profile: of the encoding; None to leave bytes as they are, which needs ``tar``.
        tar: pack into shards.
    """

    def __init__(
        self,
        folder: Path,
        originals: Mapping[str, Path],
        profile: Profile | None,
        *,
        tar: bool,
    ) -> None:
        self._folder = folder
        self._originals = originals
        self._tar = tar
        self._parts = folder / ".parts" if tar else folder
        self._tasks: dict[str, CopyTask] = {}
        for name in sorted(originals):
            self._tasks[name] = CopyTask(
                name, originals[name], self._parts, profile
            )
        self._names = iter(self._tasks)
        self._next = next(self._names, None)
        self._group: list[CopyEntry] = []
        self._group_size = 0
        self._placed: list[CopyEntry] = []
        self._num_shards = 0
        self._journal = folder / ".journal.csv"
        self._done = {entry.path: entry for entry in self._still_there()}
        self._write_journal()
        self._pack()

    @property
    def done(self) -> list[CopyEntry]:
        """Return the clips that are done, each as a file of its own, not yet in a shard."""
        return list(self._done.values())

    @property
    def spare(self) -> int:
        """Return how many bytes are there twice while a shard is written."""
        return SHARD if self._tar else 0

    def tasks(self) -> list[CopyTask]:
        """Return what is left."""
        return [
            task for name, task in self._tasks.items() if name not in self._done
        ]

    def add(self, entry: CopyEntry) -> None:
        """Note that a clip is done."""
        with self._journal.open("ab") as file:
            file.write(to_csv([entry]))
        self._done[entry.path] = entry
        self._pack()

    def finish(self) -> None:
        """Write the index, when nothing is left."""
        if not self._tar:
            # In the order of names, not in that in which clips were done.
            write_index(self._folder, map(self._done.__getitem__, self._tasks))
            return
        self._close_shard()
        shutil.rmtree(self._parts, ignore_errors=True)
        write_index(self._folder, self._placed)

    def _still_there(self) -> Iterator[CopyEntry]:
        """Yield the journal's clips whose copy is in a shard, or a file of the right size, and of today's original."""
        packed = set[str]()
        for path in self._folder.glob("shard-*.tar"):
            with tarfile.open(path) as shard:
                packed.update(shard.getnames())
        noted = [
            entry for entry in _read(self._journal) if entry.path in self._tasks
        ]
        others = {entry.path for entry in of_others(noted, self._originals)}
        for entry in noted:
            there = entry.file in packed or _has_size(self._file(entry), entry.size)
            if there and entry.path not in others:
                yield entry

    def _write_journal(self) -> None:
        """Write the journal again, without the line that a stop may have cut."""
        with atomic_write(self._journal) as partial:
            partial.write_bytes(to_csv(self._done.values()))

    def _file(self, entry: CopyEntry) -> Path:
        task = self._tasks[entry.path]
        return task.original if task.profile is None else self._parts / entry.file

    def _pack(self) -> None:
        """Take what is done in the order of names into the open shard, until one is not."""
        while self._tar and self._next in self._done:
            entry = self._done[self._next]
            size = packed_size(entry.size)
            if self._group_size + size > SHARD:
                self._close_shard()
            self._group.append(entry)
            self._group_size += size
            self._next = next(self._names, None)

    def _close_shard(self) -> None:
        """Write the open shard, if an earlier run has not, and delete the parts that it holds."""
        if not self._group:
            return
        path = self._folder / f"shard-{self._num_shards:05d}.tar"
        files = list(map(self._file, self._group))
        if path.exists():
            self._placed += shard_places(path, self._group)
        else:
            self._placed += write_shard(path, self._group, files)
        for file in files:
            # Originals that were not encoded are packed from where they are, and stay.
            if file.is_relative_to(self._parts):
                file.unlink(missing_ok=True)
        self._group = []
        self._group_size = 0
        self._num_shards += 1


def _read(journal: Path) -> Iterator[CopyEntry]:
    """Yield the lines that are whole."""
    if not journal.exists():
        return
    with journal.open(newline="", encoding=ENCODING, errors=ERRORS) as file:
        rows = csv.reader(file)
        # A line without end is an error of the reader: nothing is known of those behind it.
        with suppress(csv.Error):
            for row in rows:
                with suppress(ValueError):
                    yield parse(row)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
