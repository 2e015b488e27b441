"""Diving48 V2 (Li et al., ECCV 2018; 48 classes)."""

from pathlib import Path
from typing import Any

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.video.annotated_videos import AnnotatedVideos
from data_modules.storage.finder import Wanted

_VIDEOS = "rgb"

_FILES: dict[Split, str] = {"train": "train", "val": "test", "test": "test"}


class Diving48(AnnotatedVideos):
    """The official ``Diving48_vocab.json``, ``Diving48_V2_{train,test}.json`` and one file a dive, ``<vid_name>.mp4``.

    The files are the dives already: ``start_frame`` and ``end_frame`` of the lists are where they lay in the
    broadcasts. Many labels of V1 are wrong; its lists are not read. Validation and test are both the test list.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of the videos, from ``root`` unless absolute; by default ``rgb``, or ``videos``, or ``root``
            itself. A suffix is found.
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
        words = annotation.read_json(path)
        if (
            not isinstance(words, list)
            or not words
            or not all(isinstance(label, list) for label in words)
        ):
            raise ValueError(
                f"{path}: expected a list of classes, each a list of words"
            )
        super().__init__([" ".join(label) for label in words], **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also others."""
        del split
        others = (
            [self.root / "videos", self.root]
            if self.videos == self.root / _VIDEOS
            else []
        )
        return [self.videos, *others]

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list of V2.
            ValueError: an empty list, a repeated entry or one without name or label, or an unknown label.
        """
        path = annotation.find(self.root, f"Diving48_V2_{_FILES[split]}.json")
        dives = annotation.read_records(path, "vid_name", "label")
        names = [
            (
                annotation.text(path, dive, "vid_name"),
                annotation.text(path, dive, "label"),
            )
            for dive in dives
        ]
        paths = self.found(
            split, [Wanted(self.videos / f"{name}.mp4") for name, _ in names]
        )
        entries = [
            ListedClip(name, file, label)
            for (name, label), file in zip(names, paths, strict=True)
        ]
        return annotation.clips(path, entries, self.labels)
