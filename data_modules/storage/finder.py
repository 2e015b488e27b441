"""Where the videos of an annotation lie: found by their names without suffix, for layouts and containers differ."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from data_modules.storage.folders import Folders, by_suffix, counted, listed
from data_modules.video.suffixes import is_video, preference, stem


class Wanted(NamedTuple):
    """A listed video.

    Attributes:
        path: where the published layout has it; its name without suffix is looked for.
        label: its class, where a class folder may hold it.
    """

    path: Path
    label: str = ""


class Found(NamedTuple):
    """Where listed videos are.

    Attributes:
        paths: of each; where it would be if it is nowhere.
        doubled: a sentence about those that are there twice, empty where none is.
    """

    paths: list[Path]
    doubled: str


_Index = Mapping[
    str, Sequence[tuple[Path, str]]
]  # folders and names, by what is compared of the names


class Finder:
    """Looks for videos in folders, each of which is read once, and only as deep as something is still missing.

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
        self._folders, self._places, self._depth, self._same = (
            folders,
            places,
            depth,
            same,
        )
        self._labels = frozenset(map(_letters, labels))
        self._levels = dict[tuple[Path, int], _Index]()

    def find(self, wanted: Sequence[Wanted]) -> Found:
        """Return where the videos are, in order."""
        found = dict[int, list[Path]]()
        missing = [
            (number, self._same(stem(video.path.name)))
            for number, video in enumerate(wanted)
        ]
        for index in self._indices():
            for number, key in missing:
                if key in index and (
                    candidates := self._own(index[key], wanted[number].label)
                ):
                    found[number] = candidates
            missing = [(number, key) for number, key in missing if number not in found]
            if not missing:
                break
        paths = [
            found[number][0] if number in found else video.path
            for number, video in enumerate(wanted)
        ]
        return Found(
            paths,
            _doubled(
                [candidates for candidates in found.values() if len(candidates) > 1]
            ),
        )

    def seen(self) -> str:
        """Return a sentence of what the places hold."""
        return "; ".join(map(self._described, self._places))

    def _described(self, place: Path) -> str:
        if not self._folders.exists(place):
            return f"there is no folder {place}"
        content = self._folders.content(place)
        files = (
            f"files {counted(by_suffix(content.files))} (such as {content.files[0]})"
            if content.files
            else ""
        )
        folders = (
            f"{len(content.folders)} folder(s) ({listed(content.folders, 3)})"
            if content.folders
            else ""
        )
        return (
            f"{place} holds {' and '.join(filter(None, (folders, files))) or 'nothing'}"
        )

    def _indices(self) -> Iterator[_Index]:
        for place in self._places:
            level = [place]
            for depth in range(self._depth):
                if (place, depth) not in self._levels:
                    self._levels[place, depth] = self._index(level)
                yield self._levels[place, depth]
                level = [
                    folder / name
                    for folder in level
                    for name in self._folders.content(folder).folders
                ]

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

    def _own(self, candidates: Sequence[tuple[Path, str]], label: str) -> list[Path]:
        """Return those in the folder of the class, else those in no class's folder, the best first."""
        wanted = _letters(label)
        inside = [
            (folder, name)
            for folder, name in candidates
            if wanted and _letters(folder.name) == wanted
        ]
        outside = [
            (folder, name)
            for folder, name in candidates
            if _letters(folder.name) not in self._labels
        ]
        videos = inside or outside
        # whether a folder holds frames is not asked: to read 100,000 of them would take minutes
        files = [(folder, name) for folder, name in videos if is_video(name)] or videos
        return [folder / name for folder, name in sorted(files, key=_order)]


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


def _doubled(candidates: Sequence[Sequence[Path]]) -> str:
    if not candidates:
        return ""
    first, second = candidates[0][:2]
    return (
        f"{len(candidates)} video(s) are there under two names or more, such as {first} and {second}; of each the "
        "first is read"
    )
