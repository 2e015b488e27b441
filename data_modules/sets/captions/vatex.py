"""VATEX (Wang et al., arXiv 1904.03493): Kinetics-600 with ten English captions each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from typing_extensions import override

from data_modules.sample import Split
from data_modules.sets.annotations import annotation
from data_modules.sets.captions.caption_files import CaptionFile, VideoNames
from data_modules.sets.captions.caption_text import WrittenCaption
from data_modules.sets.captions.captioned_videos import CaptionedVideos
from data_modules.storage.finder import plain_times

_OFFICIAL: dict[Split, str] = {
    "train": "vatex_training_v1.0.json",
    "val": "vatex_validation_v1.0.json",
    "test": "vatex_validation_v1.0.json",  # HGR halves the official validation
}
_FORMS = (
    '{video: {"enCap": [caption, ...]}} or '
    '[{"videoID": video, "enCap": [caption, ...]}, ...]'
)


class VATEX(CaptionedVideos):
    """Read ``{train,val,test}_list.txt``, a video a line, and the captions in JSON.

    Captions are in ``vatex_data.json``, either ``{video: {"enCap": [caption, ...]}}``
    or, as published, a list of ``{"videoID": video, "enCap": [...], "chCap": [...]}``.
    Where there is no such file, they are in the published ``vatex_training_v1.0.json``
    and ``vatex_validation_v1.0.json``. Chinese captions are not read.

    The retrieval split of HGR (Chen et al., arXiv 2003.00392): 25,991, 1,500 and 1,500
    videos. Videos vanish from the web: ``files.missing=leave_out`` goes on without, and
    says how many. Those that remain are another, easier test.

    Args:
        root: the folder of the annotation files.
        kwargs: those of
            :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
    """

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)

    @staticmethod
    @override
    def same(name: str) -> str:
        return plain_times(name)

    def listed(self, split: Split) -> VideoNames:
        """Return the lines of the list."""
        path = annotation.find(self.root, f"{split}_list.txt")
        return VideoNames(path, annotation.read_lines(path))

    def captions(self, split: Split) -> CaptionFile:
        """Return the captions of all splits, or of the split as it is published."""
        path = annotation.find(self.root, "vatex_data.json", _OFFICIAL[split])
        captions = dict[str, list[WrittenCaption]]()
        for video, entry in _entries(path):
            if video in captions:
                raise ValueError(f"{path}: video {video} is listed twice or more")
            english = _english(path, video, entry)
            captions[video] = list(map(WrittenCaption, english))
        return CaptionFile(path, captions)


def _entries(path: Path) -> Iterator[tuple[str, object]]:
    """Yield each video and what the file says of it."""
    content = annotation.read_json(path)
    if isinstance(content, dict) and content:
        yield from cast(dict[str, object], content).items()
    elif isinstance(content, list) and content:
        for record in annotation.records(path, content, "videoID", "enCap"):
            yield annotation.text(path, record, "videoID"), record
    else:
        raise ValueError(
            f"{path}: expected {_FORMS}, got {annotation.short(content)}"
        )


def _english(path: Path, video: str, entry: object) -> list[object]:
    """Return the English captions of a video; ValueError where there is no list."""
    english = None
    if isinstance(entry, dict):
        english = cast(dict[str, object], entry).get("enCap")
    if not isinstance(english, list):
        raise ValueError(
            f"{path}: expected {_FORMS}; video {video} has no such list"
        )
    return cast(list[object], english)
