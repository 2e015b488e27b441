"""Your own videos: a folder a class."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip
from data_modules.storage.files import Files
from data_modules.video.decode import VIDEO_SUFFIXES


class VideoFolder(VideoDataModule):
    """``root/train/<class>/*.mp4``, the same under ``root/val``, and under ``root/test`` if there is one, else val.

    Class indices are the sorted names of the folders of videos under ``root/train``. Files are .mp4, .webm, .avi,
    .mkv, .mov. A folder of a split that is gone is as the ingested copy knows it, if there is one.

    Args:
        root: the folder that holds train and val.
        files: see :class:`~data_modules.base.VideoDataModule`.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no ``root/train``.
        ValueError: no class folder with videos in it.
    """

    def __init__(self, root: str, *, files: Files = Files(), **kwargs: Any) -> None:
        self.root, self.files = Path(root), files
        super().__init__(sorted(self._by_class("train")), files=files, **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """Sorted by class, then by file name.

        Raises:
            FileNotFoundError: no folder for the split.
            ValueError: no class folder with videos in it, or a class that training does not have.
        """
        videos = self._by_class(split)
        unknown = sorted(videos.keys() - set(self.labels))
        if unknown:
            raise ValueError(
                f"{self.root / split}: class folders {unknown} are not among the {len(self.labels)} of train"
            )
        paths = [(label, path) for label, name in enumerate(self.labels) for path in videos.get(name, [])]
        return [Clip(f"{path.parent.name}/{path.name}", path, label) for label, path in paths]

    def _by_class(self, split: Split) -> dict[str, list[Path]]:
        """Files by class, both sorted."""
        folder = self.root / split
        files = self.files.originals(folder, self.root, depth=2)
        if not files and not folder.is_dir():
            if split == "test":
                return self._by_class("val")
            raise FileNotFoundError(f"{folder}: no such folder; expected train/<class>/*.mp4 and val/<class>/*.mp4")
        videos = defaultdict[str, list[Path]](list)
        for file in files:
            if file.suffix.lower() in VIDEO_SUFFIXES:
                videos[file.parent.name].append(file)
        if not videos:
            raise ValueError(f"{folder}: holds no class folders; expected one folder of videos for each class")
        return dict(videos)
