"""UCF101 (Soomro et al., arXiv 1212.0402; 101 classes, three splits)."""

from pathlib import Path
from typing import Any

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.video.annotated_videos import AnnotatedVideos
from data_modules.storage.finder import Wanted
from data_modules.video.suffixes import is_video

_VIDEOS = "UCF-101"


class UCF101(AnnotatedVideos):
    """The official ``classInd.txt``, ``trainlist0<n>.txt``, ``testlist0<n>.txt`` and ``<Class>/<video>.avi``.

    Videos are found by their names without suffix, in class folders or in one folder. Papers report the mean of
    three splits. Validation and test are both the test list.

    Args:
        root: the folder that holds the two below.
        split_number: 1, 2 or 3.
        videos: the folder of the class folders, from ``root`` unless absolute; by default ``UCF-101``, or any other
            below ``root``.
        splits: the folder of the lists, from ``root`` unless absolute.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no ``classInd.txt``.
        ValueError: another number of split, or classes that are not numbered from 1 on.
    """

    CLASSES = 101
    depth = 3

    def __init__(
        self,
        root: str,
        *,
        split_number: int = 1,
        videos: str = _VIDEOS,
        splits: str = "ucfTrainTestlist",
        **kwargs: Any,
    ) -> None:
        self.root, self.videos, self.splits = (
            Path(root),
            Path(root) / videos,
            Path(root) / splits,
        )
        if split_number not in (1, 2, 3):
            raise ValueError(f"split_number: expected 1, 2 or 3, got {split_number}")
        self.split_number = split_number
        path = annotation.find(self.splits, "classInd.txt")
        rows = annotation.read_rows(path, "number class", separator=" ")
        if [number for number, _ in rows] != [
            str(1 + index) for index in range(len(rows))
        ]:
            raise ValueError(
                f"{path}: expected a number and a class in each line, numbered 1, "
                "2, 3, ..."
            )
        super().__init__([label for _, label in rows], **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also ``root``."""
        del split
        return (
            [self.videos, self.root]
            if self.videos == self.root / _VIDEOS
            else [self.videos]
        )

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list.
            ValueError: a damaged or repeated entry, an unknown class, or a number that is not that of the class.
        """
        name = "trainlist" if split == "train" else "testlist"
        path = annotation.find(self.splits, f"{name}{self.split_number:02d}.txt")
        rows = annotation.read_rows(path, "video", "video number", separator=" ")
        wrong = [row[0] for row in rows if not is_video(row[0])]
        if wrong:
            raise ValueError(
                f"{path}: expected <class>/<video>.avi in each line, and a number "
                f"or none, got {wrong[0]!r}"
            )
        listed = [
            ListedClip(row[0], self.videos / row[0], row[0].partition("/")[0])
            for row in rows
        ]
        paths = self.found(split, [Wanted(entry.path, entry.label) for entry in listed])
        entries = [
            entry._replace(path=file) for entry, file in zip(listed, paths, strict=True)
        ]
        clips = annotation.clips(path, entries, self.labels)
        for clip, row in zip(clips, rows, strict=True):
            if row[1:] not in ([], [str(clip.label + 1)]):
                raise ValueError(
                    f"{path}: {row[0]} has number {row[1]}, its class has "
                    f"{clip.label + 1}"
                )
        return clips
