"""Your own videos: a folder a class."""

from pathlib import Path
from typing import Any

from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip
from data_modules.decode import VIDEO_SUFFIXES


class VideoFolder(VideoDataModule):
    """``root/train/<class>/*.mp4``, the same under ``root/val``, and under ``root/test`` if there is one, else val.

    Class indices are the sorted names of the folders under ``root/train``. Files are .mp4, .webm, .avi, .mkv, .mov.

    Args:
        root: the folder that holds train and val.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no ``root/train``.
        ValueError: no class folder in it.
    """

    def __init__(self, root: str, **kwargs: Any) -> None:
        self.root = Path(root)
        super().__init__(_classes(self.root / "train"), **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """Sorted by class, then by file name.

        Raises:
            FileNotFoundError: no folder for the split.
            ValueError: a class that training does not have.
        """
        folder = self.root / split
        if split == "test" and not folder.is_dir():
            folder = self.root / "val"
        unknown = sorted(set(_classes(folder)) - set(self.labels))
        if unknown:
            raise ValueError(f"{folder}: class folders {unknown} are not among the {len(self.labels)} of train")
        return [clip for label, name in enumerate(self.labels) for clip in _clips(folder / name, label)]


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected train/<class>/*.mp4 and val/<class>/*.mp4")
    names = sorted(child.name for child in folder.iterdir() if child.is_dir())
    if not names:
        raise ValueError(f"{folder}: holds no class folders; expected one folder of videos for each class")
    return names


def _clips(folder: Path, label: int) -> list[Clip]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    return [Clip(f"{folder.name}/{file.name}", file, label) for file in videos]
