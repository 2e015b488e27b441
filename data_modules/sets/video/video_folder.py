"""Your own videos: a folder a class."""

from pathlib import Path
from typing import Any

from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Clip, Split
from data_modules.sets.video.class_folders import (
    ClassFolders,
    alias,
    no_split,
    read_class_folders,
)
from data_modules.storage.files import Files
from data_modules.storage.folders import listed


class VideoFolder(VideoDataModule):
    """Read ``root/train/<class>/<video>``, and the same under ``root/val``.

    Test is ``root/test`` if there is one, else val. Class indices are the sorted names
    of the folders of videos under ``root/train``. A video is a file with one of
    :data:`~data_modules.video.suffixes.VIDEO_SUFFIXES`, or a folder with the frames of
    one. Hidden names, and those that operating systems leave behind, are no data; what
    else is passed over is told, with counts. A folder of a split that is gone is as the
    ingested copy knows it, if there is one.

    Args:
        root: the folder that holds train and val.
        files: see :class:`~data_modules.loading.data_module.VideoDataModule`.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no ``root/train``.
        ValueError: no class folder with videos in it, or one with videos only in
            folders of their own.
    """

    def __init__(self, root: str, *, files: Files = Files(), **kwargs: Any) -> None:
        # the folders, which need both, give the classes that the base class needs
        self.root = Path(root)
        self.files = files
        self._read = dict[Split, ClassFolders]()
        super().__init__(
            sorted(self._by_class("train").videos), files=files, **kwargs
        )

    def clips(self, split: Split) -> list[Clip]:
        """Return the videos of a split, sorted by class, then by file name.

        Raises:
            FileNotFoundError: no folder for the split.
            ValueError: no class folder with videos in it, or a class that training does
                not have.
        """
        found = self._by_class(split)
        unknown = sorted(found.videos.keys() - set(self.all_labels))
        if unknown:
            raise ValueError(
                f"{found.folder}: class folders {unknown} are not among the "
                f"{len(self.all_labels)} of train"
            )
        for note in found.notes():
            self.note(split, note)
        absent = [name for name in self.all_labels if name not in found.videos]
        if absent:
            self.note(
                split,
                f"{found.folder}: holds no video of {len(absent)} of the "
                f"{len(self.all_labels)} classes of train: {listed(absent)}",
            )
        clips = list[Clip]()
        for label, name in enumerate(self.all_labels):
            for path in found.videos.get(name, []):
                clips.append(Clip(f"{path.parent.name}/{path.name}", path, label))
        return clips

    def _by_class(self, split: Split) -> ClassFolders:
        """Return the videos of a split by class; those of val where there is no test.

        Raises:
            FileNotFoundError: no folder for the split.
            ValueError: no class folder with videos in it.
        """
        folder = self.root / split
        if not self.folders.exists(folder):
            # a folder "testing" beside it is a mistake, and not a set without test
            if split == "test" and not alias(self.folders, self.root, split):
                return self._by_class("val")
            raise FileNotFoundError(no_split(self.folders, self.root, split))
        if split not in self._read:
            self._read[split] = read_class_folders(self.folders, folder)
        self._read[split].require_videos()
        return self._read[split]
