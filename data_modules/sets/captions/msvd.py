"""MSVD (Chen and Dolan, ACL 2011): 1,970 short videos with about 40 captions each."""

import pickle
from pathlib import Path
from typing import Any, NoReturn, cast

from typing_extensions import override

from data_modules.sample import Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.text_file import text_lines
from data_modules.sets.captions.caption_files import CaptionFile, VideoNames
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
    """Read ``{train,val,test}_list.txt`` and ``raw-captions.pkl``.

    The lists have a video a line, 1,200, 100 and 670. The captions are
    ``{video: [caption, ...]}``, a caption a list of words. In their place there may be
    the ``AllVideoDescriptions.txt`` of the authors: a video and a caption a line,
    comments begin with #. Videos are ``<id>.avi``. Every caption of a test video is a
    query.

    Args:
        root: the folder of the annotation files.
        kwargs: those of
            :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
    """

    published = "YouTubeClips"

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)

    def listed(self, split: Split) -> VideoNames:
        """Return the lines of the list."""
        path = annotation.find(self.root, f"{split}_list.txt")
        return VideoNames(path, annotation.read_lines(path))

    def captions(self, split: Split) -> CaptionFile:
        """Return the captions of one file for all splits; words are joined by spaces."""
        files = ("raw-captions.pkl", "AllVideoDescriptions.txt")
        path = annotation.find(self.root, *files)
        found = _of_pickle(path) if path.suffix == ".pkl" else _of_text(path)
        return CaptionFile(path, found)


def _of_pickle(path: Path) -> dict[str, list[WrittenCaption]]:
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise _unlike(path)
    captions = dict[str, list[WrittenCaption]]()
    for name, sentences in cast(dict[object, object], content).items():
        if not isinstance(sentences, list):
            raise _unlike(path)
        words = map(_sentence, cast(list[object], sentences))
        captions[str(name)] = list(map(WrittenCaption, words))
    return captions


def _unlike(path: Path) -> ValueError:
    return ValueError(f"{path}: expected {{video: [caption, ...]}}")


def _of_text(path: Path) -> dict[str, list[WrittenCaption]]:
    captions = dict[str, list[WrittenCaption]]()
    for number, line in text_lines(path):
        if line.startswith("#"):
            continue
        video, _, caption = line.partition(" ")
        written = WrittenCaption(caption.strip(), number)
        captions.setdefault(video, []).append(written)
    return captions


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle of plain Python types, and execute nothing of it.

    Raises:
        ValueError: it holds any other object, or is damaged.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8").load()
    except _DAMAGED as error:
        raise ValueError(f"{path}: is no pickle of plain types: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    """Make dictionaries, lists, texts and numbers, and nothing else.

    Every other object of a pickle is looked up here before it is made.
    """

    @override
    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(
            f"it asks for {module_name}.{global_name}, which is not loaded"
        )


def _sentence(words: object) -> object:
    """Return a list of words as one text; anything else, which is refused later."""
    if not isinstance(words, list):
        return words
    found = cast(list[object], words)
    if not all(isinstance(word, str) for word in found):
        return words
    return " ".join(cast(list[str], found))
