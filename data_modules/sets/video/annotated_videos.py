"""Data sets whose annotation names videos, wherever these lie below a few folders."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Split
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.storage.finder import Finder, Wanted


class AnnotatedVideos(VideoDataModule):
    """Find the videos of an annotation by their names without suffix.

    Attributes:
        depth: levels of folders that are searched in a place; 1 searches the place
            alone.
    """

    depth: ClassVar[int] = 1

    @cached_property
    def _finders(self) -> dict[tuple[Path, ...], Finder]:
        """Return one finder for each list of places; what it has read of them serves all splits."""
        return {}

    @abstractmethod
    def places(self, split: Split) -> Sequence[Path]:
        """Return the folders in which videos of a split may lie, the best first."""

    @staticmethod
    def same(name: str) -> str:
        """Return what is compared of a name without suffix."""
        return name

    @override
    def looked_in(self, split: Split) -> str:
        return self._finder(split).seen()

    def found(self, split: Split, wanted: Sequence[Wanted]) -> list[Path]:
        """Return where the videos are, or would be.

        Those that are there twice are told when the split is set up.
        """
        found = self._finder(split).find(wanted)
        self.note(split, found.doubled)
        return found.paths

    def with_paths(
        self,
        split: Split,
        entries: Sequence[ListedClip],
        *,
        in_class_folders: bool = False,
    ) -> list[ListedClip]:
        """Return the lines of a list with the paths where their videos are.

        Args:
            split: whose places are searched.
            entries: lines with paths of the published layout.
            in_class_folders: whether videos may lie in a folder of their class.
        """
        wanted = list[Wanted]()
        for entry in entries:
            label = entry.label if in_class_folders else ""
            wanted.append(Wanted(entry.path, label))
        found = list[ListedClip]()
        for entry, path in zip(entries, self.found(split, wanted), strict=True):
            found.append(entry._replace(path=path))
        return found

    def _finder(self, split: Split) -> Finder:
        places = tuple(self.places(split))
        if places not in self._finders:
            self._finders[places] = Finder(
                self.folders,
                places,
                depth=self.depth,
                labels=self.all_labels,
                same=self.same,
            )
        return self._finders[places]


def require_split_number(number: int) -> None:
    """Raise ``ValueError`` for another split than the three that HMDB51 and UCF101 have."""
    if number not in (1, 2, 3):
        raise ValueError(f"split_number: expected 1, 2 or 3, got {number}")
