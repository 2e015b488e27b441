"""Diving48 V2 (Li et al., ECCV 2018; 48 classes)."""

from pathlib import Path
from typing import Any, cast

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.video.annotated_videos import AnnotatedVideos

_VIDEOS = "rgb"

_FILES: dict[Split, str] = {"train": "train", "val": "test", "test": "test"}


class Diving48(AnnotatedVideos):
    """Read the official lists and one file a dive, ``<vid_name>.mp4``.

    The lists are ``Diving48_vocab.json`` and ``Diving48_V2_{train,test}.json``. The
    files are the dives already: ``start_frame`` and ``end_frame`` of the lists are where
    they lay in the broadcasts. Many labels of V1 are wrong; its lists are not read.
    Validation and test are both the test list.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of the videos, from ``root`` unless absolute; by default
            ``rgb``, or ``videos``, or ``root`` itself. A suffix is found.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no vocabulary.
        ValueError: a vocabulary that is no list of classes.
    """

    CLASSES = 48

    def __init__(self, root: str, *, videos: str = _VIDEOS, **kwargs: Any) -> None:
        self.root = Path(root)
        self.videos = self.root / videos
        path = annotation.find(self.root, "Diving48_vocab.json")
        super().__init__(_classes(path), **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also others."""
        del split
        if self.videos != self.root / _VIDEOS:
            return [self.videos]
        return [self.videos, self.root / "videos", self.root]

    def clips(self, split: Split) -> list[Clip]:
        """Return the dives of a split in the order of its list.

        Raises:
            FileNotFoundError: no list of V2.
            ValueError: an empty list, a repeated entry or one without name or label, or
                an unknown label.
        """
        path = annotation.find(self.root, f"Diving48_V2_{_FILES[split]}.json")
        entries = list[ListedClip]()
        for dive in annotation.read_records(path, "vid_name", "label"):
            name = annotation.text(path, dive, "vid_name")
            label = annotation.text(path, dive, "label")
            entries.append(ListedClip(name, self.videos / f"{name}.mp4", label))
        entries = self.with_paths(split, entries)
        return annotation.clips(path, entries, self.all_labels)


def _classes(path: Path) -> list[str]:
    """Return the classes of a vocabulary, in which each is a list of words."""
    words = annotation.read_json(path)
    if not isinstance(words, list) or not words:
        raise _no_vocabulary(path)
    classes = list[str]()
    for label in cast(list[Any], words):
        if not isinstance(label, list):
            raise _no_vocabulary(path)
        classes.append(" ".join(cast(list[str], label)))
    return classes


def _no_vocabulary(path: Path) -> ValueError:
    return ValueError(f"{path}: expected a list of classes, each a list of words")
