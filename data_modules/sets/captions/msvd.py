"""MSVD (Chen and Dolan, ACL 2011): 1,970 short videos with about 40 captions each."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from typing_extensions import override

from data_modules.sample import Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.text_file import text_lines
from data_modules.sets.captions.caption_text import WrittenCaption
from data_modules.sets.captions.captioned_videos import CaptionedVideos

# a damaged pickle may raise almost anything
_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
)


class MSVD(CaptionedVideos):
    """``{train,val,test}_list.txt`` with a video a line, 1,200, 100 and 670, and ``raw-captions.pkl``.

    The latter is ``{video: [caption, ...]}``, a caption a list of words. In its place there may be the
    ``AllVideoDescriptions.txt`` of the authors: a video and a caption a line, comments begin with #. Videos are
    ``<id>.avi``. Every caption of a test video is a query.

    Args:
        root: the folder of the annotation files.
        kwargs: those of :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
    """

    published = "YouTubeClips"

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)

    def listed(self, split: Split) -> tuple[Path, Sequence[str]]:
        """The lines of the list."""
        path = annotation.find(self.root, f"{split}_list.txt")
        return path, annotation.read_lines(path)

    def captions(
        self, split: Split
    ) -> tuple[Path, Mapping[str, Sequence[WrittenCaption]]]:
        """One file for all splits; words are joined by spaces."""
        path = annotation.find(
            self.root, "raw-captions.pkl", "AllVideoDescriptions.txt"
        )
        return path, _of_pickle(path) if path.suffix == ".pkl" else _of_text(path)


def _of_pickle(path: Path) -> dict[str, list[WrittenCaption]]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(
        isinstance(said, list) for said in content.values()
    ):
        raise ValueError(f"{path}: expected {{video: [caption, ...]}}")
    videos = cast(dict[str, list[object]], content)
    return {
        str(name): [WrittenCaption(_sentence(words)) for words in said]
        for name, said in videos.items()
    }


def _of_text(path: Path) -> dict[str, list[WrittenCaption]]:
    captions = dict[str, list[WrittenCaption]]()
    for number, line in text_lines(path):
        video, _, caption = line.partition(" ")
        if not line.startswith("#"):
            captions.setdefault(video, []).append(
                WrittenCaption(caption.strip(), number)
            )
    return captions


def read_pickle(path: Path) -> Any:
    """The content of a pickle of plain Python types; ValueError for any other, of which nothing is executed."""
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8").load()
    except _DAMAGED as error:
        raise ValueError(f"{path}: is no pickle of plain types: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    """Makes dictionaries, lists, texts and numbers; every other object of a pickle is looked up here first."""

    @override
    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(
            f"it asks for {module_name}.{global_name}, which is not loaded"
        )


def _sentence(words: object) -> object:
    if isinstance(words, list) and all(
        isinstance(word, str) for word in cast(list[object], words)
    ):
        return " ".join(cast(list[str], words))
    return words
