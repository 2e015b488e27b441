"""Find the clips of a data set in an ingested copy: a folder with ``index.csv`` and either files or tar shards."""

import os
from collections.abc import Iterator, Mapping
from itertools import compress
from pathlib import Path

from data_modules.io.untrusted import inside
from data_modules.storage.content import Content, changed, describe_changed, present
from data_modules.storage.copy_index import INDEX, read_index
from data_modules.video.source import Source


class IngestedCopy:
    """Find clips by the names of their originals.

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
        # File, first byte and size of each clip; a whole entry takes several times the memory.
        self._places: dict[str, tuple[str, int, int]] = {}
        self._encoded = set[str]()
        self._originals: dict[str, Content] = {}
        self.damaged: dict[str, str] = {}
        files = set[str]()
        for entry in read_index(self._folder):
            files.add(entry.file)
            self._places[entry.path] = (entry.file, entry.start, entry.size)
            if entry.original:
                self._originals[entry.path] = entry.original
            if entry.status == "encoded":
                self._encoded.add(entry.path)
            elif entry.status == "damaged":
                self.damaged[entry.path] = entry.reason
        _refuse_links_outside(self._folder, files)
        self._check_shards()

    def _check_shards(self) -> None:
        """Refuse a shard that is missing or ends before its last clip does, as after a copy that was stopped."""
        ends: dict[str, int] = {}
        for file, start, size in self._places.values():
            if start:
                ends[file] = max(ends.get(file, 0), start + size)
        for file, end in ends.items():
            _check_shard(self._folder / file, end)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the clips."""
        return iter(self._places)

    def __contains__(self, relative: str) -> bool:
        """Tell whether the copy holds the clip whose original is at ``relative`` from the root."""
        return relative in self._places

    def require_originals(self, originals: Mapping[str, Path]) -> None:
        """Compare the originals that are at hand with those that were copied, by size, time and a sample.

        Args:
            originals: their places by name; what is not there any more is not compared.

        Raises:
            ValueError: some are others.
        """
        known = list(filter(self._originals.__contains__, originals))
        at_hand = present([originals[name] for name in known])
        names = list(compress(known, at_hand))
        places = list(map(originals.__getitem__, names))
        others = changed(places, [self._originals[name] for name in names])
        if others:
            sentence = describe_changed(others, names, "originals", "were copied")
            raise ValueError(
                f"{self._folder}: {sentence}; run the same `lightning-petl data "
                "ingest` again, which copies them anew, "
                "or move them away if the copy is right"
            )

    def source(self, relative: str) -> Source:
        """Return where the copy of the clip at ``relative``, from the root of the data set, is read.

        Raises:
            ValueError: the copy does not hold the clip.
        """
        if relative not in self._places:
            raise ValueError(self._lacks(relative))
        file, start, size = self._places[relative]
        # Encoded copies were compared with a plain decode, so a reader need not look for oddities in them again.
        verified = size if relative in self._encoded else None
        return Source(self._folder / file, start, size if start else None, verified)

    def _lacks(self, relative: str) -> str:
        first = next(iter(self._places), None)
        such = "" if first is None else f", such as {first!r}"
        return (
            f"{self._folder / INDEX}: has no clip {relative!r} among its {len(self)}"
            f"{such}: it is the copy of another data "
            "set or of an earlier list; run `lightning-petl "
            "data ingest` on this one, to a new folder"
        )


def _refuse_links_outside(folder: Path, files: set[str]) -> None:
    """Refuse files that a link leads to from the copy to elsewhere.

    Each folder is looked into once: to follow every path of a hundred thousand takes minutes on a network disk.
    """
    parents = {file.rpartition("/")[0] for file in files}
    for parent in parents:
        place = inside(folder, parent) if parent else folder
        if not place.is_dir():
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_symlink():
                    inside(
                        folder, f"{parent}/{entry.name}" if parent else entry.name
                    )


def _check_shard(path: Path, end: int) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the shard is missing; copy it "
            "here again, or ingest again to a new folder"
        )
    size = path.stat().st_size
    if size < end:
        raise ValueError(
            f"{path}: the shard has {size} bytes, and "
            f"its last clip ends at {end}; copy it again"
        )
