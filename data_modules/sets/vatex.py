"""VATEX (Wang et al., arXiv 1904.03493): videos of Kinetics-600 with ten English captions each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from data_modules.base import Split
from data_modules.sets import annotation
from data_modules.sets.caption_text import Written
from data_modules.sets.captions import CaptionedVideos


class VATEX(CaptionedVideos):
    """``{train,val,test}_list.txt``, a video a line; ``vatex_data.json``, ``{video: {"enCap": [caption, ...]}}``.

    The retrieval split of HGR (Chen et al., arXiv 2003.00392): 25,991, 1,500 and 1,500 videos. Videos vanish from the
    web: ``files.missing=leave_out`` goes on without, and says how many. Those that remain are another, easier test.

    Args:
        root: the folder of the annotation files.
        kwargs: those of :class:`~data_modules.sets.captions.CaptionedVideos`.
    """

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)

    def listed(self, split: Split) -> tuple[Path, Sequence[str]]:
        """The lines of the list."""
        path = annotation.find(self.root, f"{split}_list.txt")
        return path, annotation.read_lines(path)

    def captions(self, split: Split) -> tuple[Path, Mapping[str, Sequence[Written]]]:
        """One file for all splits."""
        path = annotation.find(self.root, "vatex_data.json")
        content = annotation.read_json(path)
        videos = cast(dict[str, Any], content) if isinstance(content, dict) else {}
        return path, {name: _english(path, name, entry) for name, entry in videos.items()}


def _english(path: Path, name: str, entry: Any) -> list[Written]:
    if not isinstance(entry, dict) or not isinstance(cast(dict[str, Any], entry).get("enCap"), list):
        raise ValueError(f'{path}: expected {{video: {{"enCap": [caption, ...]}}}}; video {name} has no such list')
    return [Written(caption) for caption in cast(dict[str, Any], entry)["enCap"]]
