"""Read the folders of a data set, each of them once, because on a network disk that takes long."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import filterfalse
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, NamedTuple

from data_modules.storage import manifest
from data_modules.video.suffixes import is_series, is_video

# Beside names that begin with a dot: what macOS, Windows, Synology, QNAP and file systems leave behind.
_NO_DATA = frozenset(
    {"__macosx", "icon\r"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini"}
    | {"$recycle.bin", "system volume information", "lost+found"}
    | {"@eadir", "#recycle", "#snapshot"}
    | {"@recycle", "@recently-snapshot", "__pycache__"}
)


class Listing(NamedTuple):
    """Hold the names in one folder.

    Attributes:
        files: sorted, without those that are no data.
        folders: sorted, without those that are no data.
        no_data: files and folders that :func:`is_data` turns down.
        dead: links of files that are not there, sorted, without those that are no data.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    no_data: frozenset[str] = frozenset()
    dead: tuple[str, ...] = ()


def is_data(name: str) -> bool:
    """Tell whether a name is that of data: not hidden, and not made by an operating system or a storage device."""
    return not name.startswith(".") and name.casefold() not in _NO_DATA


def read(folder: Path) -> Listing | None:
    """Return what lies in ``folder``; None where there is no such folder."""
    try:
        with os.scandir(folder) as found:
            kinds = {entry.name: _kind(entry) for entry in found}
    except (FileNotFoundError, NotADirectoryError):
        return None
    data: dict[str, list[str]] = {"file": [], "folder": [], "dead": []}
    no_data = set[str]()
    for name in sorted(kinds):
        kind = kinds[name]
        if is_data(name):
            data[kind].append(name)
        elif kind != "dead":
            no_data.add(name)
    return Listing(
        tuple(data["file"]),
        tuple(data["folder"]),
        frozenset(no_data),
        tuple(data["dead"]),
    )


def _kind(entry: os.DirEntry[str]) -> Literal["file", "folder", "dead"]:
    """Return what an entry is."""
    # ``scandir`` knows it of all but links, for which the disk is asked again.
    if entry.is_dir():
        return "folder"
    return "dead" if entry.is_symlink() and not entry.is_file() else "file"


def walk(top: Path) -> Iterator[tuple[Path, Listing]]:
    """Yield every folder from ``top`` down with what it holds; one to which several links lead is visited once."""
    waiting = [top]
    seen = set[str]()  # a link may lead back to a folder above it
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        content = read(folder)
        if real in seen or content is None:
            continue
        seen.add(real)
        yield folder, content
        waiting += map(folder.joinpath, content.folders)


class Folders:
    """Read the folders of a data set, or what its ingested copy knows of one that is gone.

    Args:
        root: the folder of the annotation, from which the copy names its clips.
        copied: returns the names of the clips in the ingested copy; none where there is no copy.
    """

    def __init__(
        self, root: Path, copied: Callable[[], Collection[str]] = tuple
    ) -> None:
        self._root = root
        self._names = copied
        self._known: dict[Path, Listing] = {}

    def exists(self, folder: Path) -> bool:
        """Tell whether the folder, or a copy of it, is there."""
        return self._find(folder) is not None

    def content(self, folder: Path) -> Listing:
        """Return what lies in the folder; nothing where it is not there."""
        return self._find(folder) or Listing()

    def names(self, folder: Path) -> frozenset[str]:
        """Return all that is in the folder, data or not; links that lead nowhere are not."""
        content = self.content(folder)
        return content.no_data | set(content.files) | set(content.folders)

    def holds_frames(self, folder: Path) -> bool:
        """Tell whether the folder is a video of its own: a series of images and no videos."""
        if folder not in self._known and self._key(folder) in self._copied_frames:
            return True
        content = self.content(folder)
        return is_series(content.files) and not any(map(is_video, content.files))

    def _find(self, folder: Path) -> Listing | None:
        if folder in self._known:
            return self._known[folder]
        content = read(folder)
        if content is None:
            content = self._copied.get(self._key(folder))
        if content is not None:  # what is not there may still be written
            self._known[folder] = content
        return content

    def _key(self, folder: Path) -> str:
        return manifest.key(folder, self._root)

    @cached_property
    def _copied_frames(self) -> frozenset[str]:
        """Return the clips of the ingested copy that were folders of frames."""
        return frozenset(filterfalse(is_video, self._names()))

    @cached_property
    def _copied(self) -> dict[str, Listing]:
        """Return the folders in which the clips of the ingested copy lay, by their names from the root."""
        files = defaultdict[str, set[str]](set)
        folders = defaultdict[str, set[str]](set)
        for name in self._names():
            path = PurePosixPath(name)
            held = folders if name in self._copied_frames else files
            held[str(path.parent)].add(path.name)
            for folder in path.parents[:-1]:
                folders[str(folder.parent)].add(folder.name)
        found: dict[str, Listing] = {}
        for key in files.keys() | folders.keys():
            found[key] = Listing(_sorted(files[key]), _sorted(folders[key]))
        return found


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(filter(is_data, names)))


def by_suffix(names: Iterable[str]) -> Counter[str]:
    """Count names by suffix, in small letters."""
    return Counter(
        PurePath(name).suffix.lower() or "without suffix" for name in names
    )


def counted(counts: Mapping[str, int]) -> str:
    """Return a text such as ".txt 10, .jpg 2", the most frequent first."""
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count}" for name, count in most_first)


def listed(names: Iterable[str], count: int = 5) -> str:
    """Return the first names, with dots where there are more."""
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
