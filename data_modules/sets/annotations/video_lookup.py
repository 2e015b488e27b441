"""What is seen of the videos that a list may name, to check how the list is read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from data_modules.storage.files import Files
from data_modules.video.decode import open_video
from data_modules.video.images import IMAGE_SUFFIXES
from data_modules.video.suffixes import is_video

_ASKED = 100  # names that are looked up of a list: enough to see what it names, and cheap on a network disk

T = TypeVar("T")


class VideoLookup:
    """Looks names of a list up, on disk or in the ingested copy.

    Args:
        videos: the folder from which names are paths.
        files: of the data module.
        root: the folder of the annotation.
    """

    def __init__(self, videos: Path, files: Files, root: Path) -> None:
        self._videos, self._files, self._root = videos, files, root

    def are_videos(self, names: Sequence[str]) -> bool:
        """Whether each has the suffix of a video or is there; those without suffix are looked up by sample."""
        return all(
            map(
                self.is_there,
                sample([name for name in names if not is_video(name)], _ASKED),
            )
        )

    def are_there(self, names: Sequence[str]) -> bool:
        """Whether all of a sample are video files or folders of frames."""
        return all(map(self.is_there, sample(names, _ASKED)))

    def any_is_there(self, names: Sequence[str]) -> bool:
        """Whether any of a sample is a video file or a folder of frames."""
        return any(map(self.is_there, sample(names, _ASKED)))

    def is_video(self, name: str) -> bool:
        """Whether the name has the suffix of a video or is there."""
        return is_video(name) or self.is_there(name)

    def is_there(self, name: str) -> bool:
        """Whether the name is that of a video file or of a folder of frames."""
        if not name:
            return False
        place = self._files.place(self._videos / name, self._root)
        return place is not None and (not isinstance(place, Path) or _is_video(place))

    def num_frames(self, name: str) -> int | None:
        """Frames of a video; None where it is not there or cannot be read."""
        place = self._files.place(self._videos / name, self._root)
        if place is None:
            return None
        try:
            with open_video(place) as video:
                return video.num_frames
        except (OSError, ValueError):
            return None


def sample(items: Sequence[T], most: int) -> Sequence[T]:
    """At most ``most`` items, evenly spread: of 10 items and 5 wanted, items 0, 2, 4, 6, 8."""
    return items[:: max(1, -(-len(items) // most))]


def _is_video(path: Path) -> bool:
    if os.path.isfile(path):
        return True
    try:
        with os.scandir(path) as entries:
            return any(
                os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
                for entry in entries
            )
    except OSError:
        return False
