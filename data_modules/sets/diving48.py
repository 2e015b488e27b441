"""Diving48 V2 (Li et al., ECCV 2018; 48 classes)."""

from pathlib import Path
from typing import Any

from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip
from data_modules.sets import annotation
from data_modules.sets.annotation import Entry

_FILES: dict[Split, str] = {"train": "train", "val": "test", "test": "test"}


class Diving48(VideoDataModule):
    """The official ``Diving48_vocab.json``, ``Diving48_V2_{train,test}.json`` and one file a dive, ``<vid_name>.mp4``.

    The files are the dives already: ``start_frame`` and ``end_frame`` of the lists are where they lay in the
    broadcasts. Many labels of V1 are wrong; its lists are not read. Validation and test are both the test list.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of the videos, from ``root`` unless absolute.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no vocabulary.
        ValueError: a vocabulary that is no list of classes.
    """

    CLASSES = 48

    def __init__(self, root: str, *, videos: str = "rgb", **kwargs: Any) -> None:
        self.root = Path(root)
        self.videos = self.root / videos
        path = annotation.find(self.root, "Diving48_vocab.json")
        words = annotation.read_json(path)
        if not isinstance(words, list) or not words or not all(isinstance(label, list) for label in words):
            raise ValueError(f"{path}: expected a list of classes, each a list of words")
        super().__init__([" ".join(label) for label in words], **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list of V2.
            ValueError: an empty list, a repeated entry or one without name or label, or an unknown label.
        """
        path = annotation.find(self.root, f"Diving48_V2_{_FILES[split]}.json")
        dives = annotation.read_records(path, "vid_name", "label")
        names = [(str(dive["vid_name"]), str(dive["label"])) for dive in dives]
        entries = [Entry(name, self.videos / f"{name}.mp4", label) for name, label in names]
        return annotation.clips(path, entries, self.labels)
