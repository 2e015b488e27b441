"""Videos of your own, in lists."""

from pathlib import Path
from typing import Any

from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip
from data_modules.sets import annotation
from data_modules.sets.annotation import Entry


class VideoList(VideoDataModule):
    """A list a split: ``path,label`` a line, or ``path,num_frames,label``; comma, semicolon, tab or space.

    A first line that names columns ``path`` and ``label`` is a header; columns beside these do not matter. A label
    is the name of a class or its number from 0. The path, from ``videos`` unless absolute, is the name of the clip.

    Args:
        root: the folder that holds the lists.
        videos: the folder of the videos, from ``root`` unless absolute.
        train: list of training.
        val: list of validation.
        test: list of test; that of validation where there is no such file.
        names: file with the name of a class a line, in the order of their numbers. Where not given, classes are the
            sorted labels of training, or its numbers from 0 to the largest.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no list of training, or no file of names.
        ValueError: an empty list, or a line that is none.
    """

    def __init__(
        self,
        root: str,
        *,
        videos: str = "",
        train: str = "train.csv",
        val: str = "val.csv",
        test: str = "test.csv",
        names: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.root = Path(root)
        self.videos = self.root / videos
        self.lists: dict[Split, tuple[str, ...]] = {"train": (train,), "val": (val,), "test": (test, val)}
        if names is None:
            labels = _classes({label for _, label in _rows(annotation.find(self.root, train))})
        else:
            labels = annotation.read_lines(annotation.find(self.root, names))
        super().__init__(labels, **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list.
            ValueError: an empty list, a line that is none, a video listed twice, or an unknown class.
        """
        path = annotation.find(self.root, *self.lists[split])
        entries = [Entry(name, self.videos / name, label) for name, label in _rows(path)]
        return annotation.clips(path, entries, self.labels)


def _rows(path: Path) -> list[tuple[str, str]]:
    rows = annotation.read_rows(path)
    if {"path", "label"} <= set(rows[0]):
        return [(row["path"], row["label"]) for row in annotation.read_table(path, "path", "label")]
    return [(row[0], row[-1]) for row in annotation.read_rows(path, "path label", "path num_frames label")]


def _classes(found: set[str]) -> list[str]:
    if all(label.isdecimal() for label in found):
        return [str(number) for number in range(max(map(int, found)) + 1)]
    return sorted(found)
