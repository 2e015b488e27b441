"""HMDB51 (Kuehne et al., ICCV 2011; 51 classes, three splits)."""

from pathlib import Path
from typing import Any

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.video.annotated_videos import (
    AnnotatedVideos,
    require_split_number,
)

_VIDEOS = "videos"

# behind the name of a video; 0 is in neither
_CODES: dict[Split, str] = {"train": "1", "val": "2", "test": "2"}


class HMDB51(AnnotatedVideos):
    """Read the official files ``<class>_test_split<n>.txt`` and ``<class>/<video>.avi``.

    Papers report the mean of 3 splits. Videos are found by their names without suffix,
    also in ``<class>/<class>`` as ``unrar x`` may leave them. Classes are numbered in
    the order of their sorted names. Validation and test are both the test list.

    Args:
        root: the folder that holds the two below.
        split_number: 1, 2 or 3.
        videos: the folder of the class folders, from ``root`` unless absolute; by
            default ``videos``, or any other below ``root``.
        splits: the folder of the lists, from ``root`` unless absolute.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no list of this split.
        ValueError: another number of split.
    """

    CLASSES = 51
    depth = 3

    def __init__(
        self,
        root: str,
        *,
        split_number: int = 1,
        videos: str = _VIDEOS,
        splits: str = "testTrainMulti_7030_splits",
        **kwargs: Any,
    ) -> None:
        self.root = Path(root)
        self.videos = self.root / videos
        self.splits = self.root / splits
        require_split_number(split_number)
        self.ending = f"_test_split{split_number}.txt"
        # "._" begins what macOS leaves behind
        files = self.splits.glob(f"[!.]*{self.ending}")
        labels = sorted(path.name.removesuffix(self.ending) for path in files)
        if not labels:
            raise FileNotFoundError(
                f"{self.splits}: holds no annotation file <class>{self.ending}"
            )
        super().__init__(labels, **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also ``root``."""
        del split
        if self.videos != self.root / _VIDEOS:
            return [self.videos]
        return [self.videos, self.root]

    def clips(self, split: Split) -> list[Clip]:
        """Return the videos of a split by class, each class in the order of its list.

        Raises:
            ValueError: a damaged or repeated entry.
        """
        entries = list[ListedClip]()
        for label in self.all_labels:
            entries += self._entries(label, _CODES[split])
        entries = self.with_paths(split, entries, in_class_folders=True)
        return annotation.clips(self.splits, entries, self.all_labels)

    def _entries(self, label: str, code: str) -> list[ListedClip]:
        """Return the videos of a class that have a code behind their names."""
        path = self.splits / f"{label}{self.ending}"
        # names hold any sign, blanks among them
        rows = [line.rsplit(maxsplit=1) for line in annotation.read_lines(path)]
        entries = list[ListedClip]()
        for row in rows:
            if len(row) != 2 or row[1] not in ("0", "1", "2"):
                raise ValueError(
                    f"{path}: expected the name of a video and 0, 1 or 2, got "
                    f"{' '.join(row)!r}"
                )
            name, found = row
            if found == code:
                place = self.videos / label / name
                entries.append(ListedClip(f"{label}/{name}", place, label))
        return entries
