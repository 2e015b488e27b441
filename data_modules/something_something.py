"""Something-Something V1 and V2 (Goyal et al., arXiv 1706.04261; 174 classes)."""

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

from data_modules import annotation
from data_modules.annotation import Entry
from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip
from data_modules.transforms import mirrored_labels

_LIST = "id num_frames label"  # of many repositories, some with folders before the id; frames are counted anew
_NAMES: dict[Split, tuple[str, str]] = {
    "train": ("train", "train"), "val": ("validation", "val"), "test": ("validation", "val"),
}  # fmt: skip


class _SomethingSomething(VideoDataModule):
    """The labels of the test list are not public: test is the validation list."""

    version: int
    suffix: str  # of the official annotation
    unseen: str  # suffix of a video that is not on disk

    def __init__(self, root: str, *, videos: str = "", **kwargs: Any) -> None:
        self.root = Path(root)
        self.videos = self.root / (videos or f"20bn-something-something-v{self.version}")
        super().__init__(self._labels(), **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list.
            ValueError: an empty list, a damaged or repeated entry, or a label outside the labels file.
        """
        official, short = _NAMES[split]
        path = self._find(official, f"{short}_videofolder.txt", f"{short}.txt")
        listed = self._official(path) if path.suffix == self.suffix else _listed(path)
        files = annotation.by_stem(self.videos)
        entries = [Entry(i, files.get(i, self.videos / f"{i}{self.unseen}"), label) for i, label in listed]
        return annotation.clips(path, entries, self.labels)

    def _find(self, name: str, *others: str) -> Path:
        names = [f"{prefix}{name}{self.suffix}" for prefix in (f"something-something-v{self.version}-", "")]
        return annotation.find(self.root, *names, *others)

    def mirrored(self) -> dict[int, int]:
        """Labels that swap left and right."""
        return mirrored_labels(self.labels)

    @abstractmethod
    def _labels(self) -> list[str]: ...

    @abstractmethod
    def _official(self, path: Path) -> list[tuple[str, str]]: ...


class SomethingSomething(_SomethingSomething):
    """Something-Something V2: videos, lists in JSON.

    Annotation files are ``{labels,train,validation}.json``, each also with ``something-something-v2-`` before it; a
    label is the template without its brackets. In their place ``{train,val}_videofolder.txt`` or ``{train,val}.txt``
    may list ``id num_frames label`` by the numbers of the labels file.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of ``<id>.webm`` or ``<id>.mp4``, or of a folder of frames a video, from ``root`` unless
            absolute; ``20bn-something-something-v2`` where not given.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no labels file.
        ValueError: labels that do not number classes from 0 on.
    """

    version, suffix, unseen = 2, ".json", ".webm"

    def _labels(self) -> list[str]:
        path = self._find("labels")
        content = annotation.read_json(path)
        labels = {str(number): label for label, number in content.items()} if isinstance(content, dict) else {}
        if not labels or set(labels) != {str(number) for number in range(len(labels))}:
            raise ValueError(
                f"{path}: expected {{label: number}} with the numbers 0, 1, 2, ...; got {json.dumps(content)[:60]}"
            )
        return [labels[str(number)] for number in range(len(labels))]

    def _official(self, path: Path) -> list[tuple[str, str]]:
        entries = annotation.read_records(path, "id", "template")
        return [(str(entry["id"]), plain(entry["template"])) for entry in entries]


class SomethingSomethingV1(_SomethingSomething):
    """Something-Something V1: a folder of frames a video, lists ``id;label``.

    Annotation files are ``something-something-v1-{labels,train,validation}.csv``, each also without what is before
    the last hyphen. The labels file has a name a line and no numbers: classes are numbered in the order of their
    sorted names, as in the lists ``id num_frames label`` that may stand in place of the official ones.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of ``<id>/00001.jpg``, from ``root`` unless absolute; ``20bn-something-something-v1``
            where not given.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no labels file.
        ValueError: an empty labels file, or a label twice in it.
    """

    version, suffix, unseen = 1, ".csv", ""

    def _labels(self) -> list[str]:
        path = self._find("labels")
        labels = sorted(annotation.read_lines(path))
        if len(set(labels)) < len(labels):
            raise ValueError(f"{path}: lists a label twice")
        return labels

    def _official(self, path: Path) -> list[tuple[str, str]]:
        return [(clip_id, label) for clip_id, label in annotation.read_rows(path, "id label")]


def _listed(path: Path) -> list[tuple[str, str]]:
    return [(name.rpartition("/")[2], label) for name, _, label in annotation.read_rows(path, _LIST)]


def plain(template: str) -> str:
    """The label of a template: "Holding [something]" without its brackets."""
    return template.replace("[", "").replace("]", "")
