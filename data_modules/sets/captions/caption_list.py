"""Videos of your own with captions, in lists."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from data_modules.sample import Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.column_names import ListColumns
from data_modules.sets.annotations.list_reader import read_list
from data_modules.sets.annotations.video_lookup import VideoLookup
from data_modules.sets.captions.caption_files import CaptionFile, VideoNames
from data_modules.sets.captions.caption_text import WrittenCaption
from data_modules.sets.captions.captioned_videos import CaptionedVideos

# sentences hold blanks
_FORM = ListColumns("caption", path="video", blanks=False)


class CaptionList(CaptionedVideos):
    """Read a list a split: ``video,caption`` a line.

    A video on several lines has several captions. A header names the columns ``video``
    and ``caption`` in any order; any other column is refused. Cells are parted by
    comma, semicolon or tab. The video is a path from ``videos`` unless absolute, and
    the name of the clip. A caption that holds the separator is put in double quotes.

    Args:
        root: the folder of the lists.
        videos: the folder of the videos, from ``root`` unless absolute.
        train: list of training.
        val: list of validation.
        test: list of test; that of validation where there is no such file.
        kwargs: those of
            :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
    """

    def __init__(
        self,
        root: str,
        *,
        videos: str = "",
        train: str = "train.csv",
        val: str = "val.csv",
        test: str = "test.csv",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, videos=videos, **kwargs)
        self.lists: dict[Split, tuple[str, ...]] = {
            "train": (train,),
            "val": (val,),
            "test": (test, val),
        }

    def listed(self, split: Split) -> VideoNames:
        """Return the videos in the order in which they first appear."""
        path, captions = self.captions(split)
        return VideoNames(path, list(captions))

    def captions(self, split: Split) -> CaptionFile:
        """Return the captions in the order of the list."""
        path = annotation.find(self.root, *self.lists[split])
        seen = VideoLookup(self.videos, self.files, self.root)
        captions = dict[str, list[WrittenCaption]]()
        for line, video, caption in read_list(path, _FORM, seen):
            name = str(PurePath(video))  # ./a.mp4 is a.mp4
            captions.setdefault(name, []).append(WrittenCaption(caption, line))
        return CaptionFile(path, captions)

    def paths(self, split: Split, names: Sequence[str]) -> list[Path]:
        """Return the paths as they are written in the list."""
        del split
        return [self.videos / name for name in names]
