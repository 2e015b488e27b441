"""What lies in the folders of a data set; each is read once, for on a network disk that takes long."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from data_modules.storage import manifest
from data_modules.video.suffixes import is_series, is_video

# beside names that begin with a dot: what macOS, Windows, Synology, QNAP and file systems leave behind
_NO_DATA = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found"}
    | {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "icon\r", "__pycache__"}
)


class Content(NamedTuple):
    """The names in one folder, without links that lead nowhere.

    Attributes:
        files: sorted, without those that are no data.
        folders: sorted, without those that are no data.
        no_data: files and folders that :func:`is_data` turns down.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    no_data: frozenset[str] = frozenset()


def is_data(name: str) -> bool:
    """Whether a name is that of data: not hidden, and not made by an operating system or a storage device."""
    return not name.startswith(".") and name.casefold() not in _NO_DATA


def read(folder: Path) -> Content | None:
    """Return what lies in ``folder``; None where there is no such folder."""
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.is_dir()) for entry in found if entry.is_dir() or entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return None
    data = sorted(entry for entry in entries if is_data(entry[0]))
    files = tuple(name for name, is_folder in data if not is_folder)
    folders = tuple(name for name, is_folder in data if is_folder)
    return Content(files, folders, frozenset(name for name, _ in entries) - {*files, *folders})


class Folders:
    """The folders of a data set, or what its ingested copy knows of one that is gone.

    Args:
        root: the folder of the annotation, from which the copy names its clips.
        copied: returns the names of the clips in the ingested copy; none where there is no copy.
    """

    def __init__(self, root: Path, copied: Callable[[], Collection[str]] = tuple) -> None:
        self._root, self._names = root, copied
        self._known = dict[Path, Content]()

    def exists(self, folder: Path) -> bool:
        """Whether the folder, or a copy of it, is there."""
        return self._find(folder) is not None

    def content(self, folder: Path) -> Content:
        """Return what lies in the folder; nothing where it is not there."""
        return self._find(folder) or Content()

    def names(self, folder: Path) -> frozenset[str]:
        """Return all that is in the folder, data or not."""
        content = self.content(folder)
        return content.no_data | set(content.files) | set(content.folders)

    def holds_frames(self, folder: Path) -> bool:
        """Whether the folder is a video of its own: a series of images and no videos."""
        if folder not in self._known and self._key(folder) in self._copied_frames:
            return True
        content = self.content(folder)
        return is_series(content.files) and not any(map(is_video, content.files))

    def _find(self, folder: Path) -> Content | None:
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
        """The clips of the ingested copy that were folders of frames."""
        return frozenset(name for name in self._names() if not is_video(name))

    @cached_property
    def _copied(self) -> dict[str, Content]:
        """The folders in which the clips of the ingested copy lay."""
        files, folders = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
        for name in self._names():
            path = PurePosixPath(name)
            (folders if name in self._copied_frames else files)[str(path.parent)].add(path.name)
            for folder in path.parents[:-1]:
                folders[str(folder.parent)].add(folder.name)
        return {key: Content(_sorted(files[key]), _sorted(folders[key])) for key in files.keys() | folders.keys()}


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(filter(is_data, names)))


def by_suffix(names: Iterable[str]) -> Counter[str]:
    """Count names by suffix, in small letters."""
    return Counter(PurePath(name).suffix.lower() or "without suffix" for name in names)


def counted(counts: Mapping[str, int]) -> str:
    """Return ".txt 10, .jpg 2", the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def listed(names: Iterable[str], count: int = 5) -> str:
    """Return the first names, and whether there are more."""
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
