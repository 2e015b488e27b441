"""Find the videos of an annotation by their names without suffix, because layouts and containers differ.

listed        train/v_1.avi
looked for    "v_1", in each place, level by level
found         videos/v_1.mp4, or a folder frames/v_1
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import filterfalse, starmap
from pathlib import Path
from typing import NamedTuple

from data_modules.storage.folders import Folders, by_suffix, counted, listed
from data_modules.video.suffixes import is_video, preference, stem


class Wanted(NamedTuple):
    """Name a listed video.

    Attributes:
        path: where the published layout has it; its name without suffix is looked for.
        label: its class, where a class folder may hold it.
    """

    path: Path
    label: str = ""


class Found(NamedTuple):
    """Say where listed videos are.

    Attributes:
        paths: of each; where it would be if it is nowhere.
        doubled: a sentence about those that are there twice, empty where none is.
    """

    paths: list[Path]
    doubled: str


# Folders and names, by what is compared of the names.
_Index = Mapping[str, Sequence[tuple[Path, str]]]


class Finder:
    """Look for videos in folders, each of which is read once, and only as deep as something is still missing.

    Args:
        folders: reads them.
        places: where to look, the best first. A video is taken from the first place that has it.
        depth: levels of folders that are read in a place; 1 reads the place alone.
        labels: of all classes. A video is not taken from the folder of another class.
        same: what to compare of a name; by default all of it.
    """

    def __init__(
        self,
        folders: Folders,
        places: Sequence[Path],
        *,
        depth: int,
        labels: Sequence[str] = (),
        same: Callable[[str], str] = str,
    ) -> None:
        self._folders = folders
        self._places = places
        self._depth = depth
        self._same = same
        self._labels = frozenset(map(_letters, labels))
        self._levels: dict[tuple[Path, int], _Index] = {}

    def find(self, wanted: Sequence[Wanted]) -> Found:
        """Return where the videos are, in order."""
        keys = [self._same(stem(video.path.name)) for video in wanted]
        found: dict[int, list[Path]] = {}
        missing: Sequence[int] = range(len(wanted))
        for index in self._indices():
            for number in missing:
                candidates = self._own(
                    index.get(keys[number], ()), wanted[number].label
                )
                if candidates:
                    found[number] = candidates
            missing = list(filterfalse(found.__contains__, missing))
            if not missing:
                break
        paths: list[Path] = []
        for number, video in enumerate(wanted):
            paths.append(found[number][0] if number in found else video.path)
        return Found(paths, _doubled(found.values()))

    def seen(self) -> str:
        """Return a sentence of what the places hold."""
        return "; ".join(map(self._described, self._places))

    def _described(self, place: Path) -> str:
        if not self._folders.exists(place):
            return f"there is no folder {place}"
        content = self._folders.content(place)
        parts: list[str] = []
        if content.folders:
            names = listed(content.folders, 3)
            parts.append(f"{len(content.folders)} folder(s) ({names})")
        if content.files:
            counts = counted(by_suffix(content.files))
            parts.append(f"files {counts} (such as {content.files[0]})")
        return f"{place} holds {' and '.join(parts) or 'nothing'}"

    def _indices(self) -> Iterator[_Index]:
        """Yield the index of each level of each place, and read no level before it is asked for."""
        for place in self._places:
            level = [place]
            for depth in range(self._depth):
                if (place, depth) not in self._levels:
                    self._levels[place, depth] = self._index(level)
                yield self._levels[place, depth]
                level = self._below(level)

    def _below(self, level: Sequence[Path]) -> list[Path]:
        """Return the folders in all folders of one level."""
        found: list[Path] = []
        for folder in level:
            found += map(folder.joinpath, self._folders.content(folder).folders)
        return found

    def _index(self, level: Sequence[Path]) -> _Index:
        """Return the videos and folders in all folders of one level by what is compared of their names."""
        index = defaultdict[str, list[tuple[Path, str]]](list)
        for folder in level:
            content = self._folders.content(folder)
            for name in content.files:
                if is_video(name):
                    index[self._same(stem(name))].append((folder, name))
            for name in content.folders:
                index[self._same(name)].append((folder, name))
        return index

    def _own(
        self, candidates: Sequence[tuple[Path, str]], label: str
    ) -> list[Path]:
        """Return those in the folder of the class, else those in no class's folder, the best first."""
        wanted = _letters(label)
        inside: list[tuple[Path, str]] = []
        outside: list[tuple[Path, str]] = []
        for folder, name in candidates:
            letters = _letters(folder.name)
            if wanted and letters == wanted:
                inside.append((folder, name))
            if letters not in self._labels:
                outside.append((folder, name))
        videos = inside or outside
        # Whether a folder holds frames is not asked: to read 100,000 of them would take minutes.
        files = [place for place in videos if is_video(place[1])] or videos
        return list(starmap(Path.joinpath, sorted(files, key=_order)))


def _order(place: tuple[Path, str]) -> tuple[tuple[int, str], Path]:
    folder, name = place
    return preference(name), folder


def plain_times(name: str) -> str:
    """Return a name such as ``<id>_000005_000015`` without the leading zeros of its times: ``<id>_5_15``."""
    return re.sub(r"_0*(\d+)_0*(\d+)$", r"_\1_\2", name)


@cache
def _letters(name: str) -> str:
    """Return what spellings of a class have in common: "Playing_piano" and "playing piano" are "playingpiano"."""
    return "".join(filter(str.isalnum, name.casefold()))


def _doubled(found: Iterable[Sequence[Path]]) -> str:
    doubled = [candidates for candidates in found if len(candidates) > 1]
    if not doubled:
        return ""
    first, second = doubled[0][:2]
    return (
        f"{len(doubled)} video(s) are there under two names "
        f"or more, such as {first} and {second}; of each the "
        "first is read"
    )
