"""What is found of the videos that a list may name, to check how the list is read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from data_modules.storage.files import Files
from data_modules.video.decode import open_video
from data_modules.video.images import IMAGE_SUFFIXES
from data_modules.video.suffixes import is_video

# names that are looked up of a list: enough to see what it names, and cheap on a
# network disk
_ASKED = 100

T = TypeVar("T")


class VideoLookup:
    """Look names of a list up, on disk or in the ingested copy.

    Args:
        videos: the folder from which names are paths.
        files: of the data module.
        root: the folder of the annotation.
    """

    def __init__(self, videos: Path, files: Files, root: Path) -> None:
        self._videos = videos
        self._files = files
        self._root = root

    def are_videos(self, names: Sequence[str]) -> bool:
        """Tell whether each has the suffix of a video or is there.

        Those without suffix are looked up by sample.
        """
        others = [name for name in names if not is_video(name)]
        return self.are_there(others)

    def are_there(self, names: Sequence[str]) -> bool:
        """Tell whether all of a sample are video files or folders of frames."""
        return all(map(self.is_there, sample(names, _ASKED)))

    def any_is_there(self, names: Sequence[str]) -> bool:
        """Tell whether any of a sample is a video file or a folder of frames."""
        return any(map(self.is_there, sample(names, _ASKED)))

    def is_video(self, name: str) -> bool:
        """Tell whether the name has the suffix of a video or is there."""
        return is_video(name) or self.is_there(name)

    def is_there(self, name: str) -> bool:
        """Tell whether the name is that of a video file or of a folder of frames."""
        if not name:  # would be the folder of the videos itself
            return False
        place = self._files.place(self._videos / name, self._root)
        if place is None:
            return False
        # what the ingested copy has is a video
        return not isinstance(place, Path) or _is_video(place)

    def num_frames(self, name: str) -> int | None:
        """Return the frames of a video; None where it is not there or unreadable."""
        place = self._files.place(self._videos / name, self._root)
        if place is None:
            return None
        try:
            with open_video(place) as video:
                return video.num_frames
        except (OSError, ValueError):
            return None


def sample(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most ``most`` items, evenly spread.

    >>> sample(range(10), 5), sample(range(3), 5)
    (range(0, 10, 2), range(0, 3))
    """
    return items[:: max(1, -(-len(items) // most))]


def _is_video(path: Path) -> bool:
    if os.path.isfile(path):
        return True
    try:
        with os.scandir(path) as entries:
            return any(map(_is_image, entries))
    except OSError:
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
