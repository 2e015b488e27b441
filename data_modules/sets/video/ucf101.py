"""UCF101 (Soomro et al., arXiv 1212.0402; 101 classes, three splits)."""

from pathlib import Path
from typing import Any

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.video.annotated_videos import (
    AnnotatedVideos,
    require_split_number,
)
from data_modules.video.suffixes import is_video

_VIDEOS = "UCF-101"


class UCF101(AnnotatedVideos):
    """Read the official lists and ``<Class>/<video>.avi``.

    The lists are ``classInd.txt``, ``trainlist0<n>.txt`` and ``testlist0<n>.txt``.
    Videos are found by their names without suffix, in class folders or in one folder.
    Papers report the mean of three splits. Validation and test are both the test list.

    Args:
        root: the folder that holds the two below.
        split_number: 1, 2 or 3.
        videos: the folder of the class folders, from ``root`` unless absolute; by
            default ``UCF-101``, or any other below ``root``.
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
        self.root = Path(root)
        self.videos = self.root / videos
        self.splits = self.root / splits
        require_split_number(split_number)
        self.split_number = split_number
        super().__init__(_classes(self.splits), **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also ``root``."""
        del split
        if self.videos != self.root / _VIDEOS:
            return [self.videos]
        return [self.videos, self.root]

    def clips(self, split: Split) -> list[Clip]:
        """Return the videos of a split in the order of its list.

        Raises:
            FileNotFoundError: no list.
            ValueError: a damaged or repeated entry, an unknown class, or a number that
                is not that of the class.
        """
        name = "trainlist" if split == "train" else "testlist"
        path = annotation.find(self.splits, f"{name}{self.split_number:02d}.txt")
        rows = annotation.read_rows(path, "video", "video number", separator=" ")
        entries = list[ListedClip]()
        for video, *_ in rows:
            if not is_video(video):
                raise ValueError(
                    f"{path}: expected <class>/<video>.avi in each line, and a number "
                    f"or none, got {video!r}"
                )
            label, _, _ = video.partition("/")
            entries.append(ListedClip(video, self.videos / video, label))
        entries = self.with_paths(split, entries, in_class_folders=True)
        clips = annotation.clips(path, entries, self.all_labels)
        for clip, (video, *numbers) in zip(clips, rows, strict=True):
            # only the lists of training have numbers, from 1
            if numbers and numbers != [str(clip.label + 1)]:
                raise ValueError(
                    f"{path}: {video} has number {numbers[0]}, its class has "
                    f"{clip.label + 1}"
                )
        return clips


def _classes(folder: Path) -> list[str]:
    """Return the classes in the order of their numbers, which count from 1."""
    path = annotation.find(folder, "classInd.txt")
    rows = annotation.read_rows(path, "number class", separator=" ")
    for index, (number, _) in enumerate(rows):
        if number != str(index + 1):
            raise ValueError(
                f"{path}: expected a number and a class in each line, numbered 1, 2, 3, "
                "..."
            )
    return [label for _, label in rows]
