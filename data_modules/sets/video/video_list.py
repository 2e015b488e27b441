"""Videos of your own, in lists."""

from pathlib import Path
from typing import Any

from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.annotations.class_names import (
    classes_of,
    read_names,
    require_names,
)
from data_modules.sets.annotations.column_names import ListColumns
from data_modules.sets.annotations.list_reader import ListLine, read_list
from data_modules.sets.annotations.video_lookup import VideoLookup
from data_modules.storage.files import Files

_FORM = ListColumns("label", counted=True)


class VideoList(VideoDataModule):
    """Read a list a split: ``path,label`` a line, or a header that names the columns.

    Columns are parted by comma, semicolon, tab or blanks. A header names ``path`` and
    ``label`` in any order, and may name ``num_frames``, which is not used: frames are
    counted anew. Other columns are refused. Without a header, the columns are
    ``path,label``; they may be ``path,num_frames,label`` where the videos that are
    there have these numbers of frames.

    The labels of a list are all names of classes or all their numbers from 0. The path,
    from ``videos`` unless absolute, is the name of the clip.

    Args:
        root: the folder that holds the lists.
        videos: the folder of the videos, from ``root`` unless absolute.
        train: list of training.
        val: list of validation.
        test: list of test; that of validation where there is no such file.
        names: file with the name of a class a line, in the order of their numbers.
            Where not given, classes are the sorted labels of training, or its numbers
            from 0 to the largest.
        files: see :class:`~data_modules.loading.data_module.VideoDataModule`.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no list of training, or no file of names.
        ValueError: an empty list, a line that is none, or a list that can be read in
            more than one way.
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
        files: Files = Files(),
        **kwargs: Any,
    ) -> None:
        # the list of training, which needs all of these, gives the classes that the
        # base class needs
        self.root = Path(root)
        self.files = files
        self.videos = self.root / videos
        self._read = dict[Path, list[ListLine]]()
        self._has_names = names is not None
        self.lists: dict[Split, tuple[str, ...]] = {
            "train": (train,),
            "val": (val,),
            "test": (test, val),
        }
        if names is None:
            path = annotation.find(self.root, train)
            labels = classes_of(path, self._labels(path))
        else:
            labels = read_names(annotation.find(self.root, names))
        super().__init__(labels, files=files, **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """Return the videos of a split in the order of its list.

        Raises:
            FileNotFoundError: no list.
            ValueError: an empty list, a line that is none, a video listed twice, or an
                unknown class.
        """
        path = annotation.find(self.root, *self.lists[split])
        if not self._has_names:
            require_names(path, self._labels(path), self.all_labels)
        entries = list[ListedClip]()
        for line, name, label in self._lines(path):
            entries.append(ListedClip(name, self.videos / name, label, line))
        # by path, as ./a.mp4 is a.mp4
        annotation.require_unique(path, entries, [entry.path for entry in entries])
        return annotation.clips(path, entries, self.all_labels)

    def _labels(self, path: Path) -> list[str]:
        return [line.value for line in self._lines(path)]

    def _lines(self, path: Path) -> list[ListLine]:
        if path not in self._read:
            seen = VideoLookup(self.videos, self.files, self.root)
            self._read[path] = read_list(path, _FORM, seen)
        return self._read[path]
