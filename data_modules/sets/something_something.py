"""Something-Something V2 (Goyal et al., arXiv 1706.04261; 174 classes)."""

from pathlib import Path
from typing import Any

from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip
from data_modules.sets import annotation
from data_modules.sets.annotation import Entry

_LIST = "id num_frames label"  # of many repositories, some with folders before the id; frames are counted anew


class SomethingSomething(VideoDataModule):
    """Videos, lists in JSON. The labels of the test list are not public: test is the validation list.

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

    CLASSES = 174

    version, form, unseen = 2, ".json", ".webm"  # of the annotation, and of a video that is not on disk

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
        official, short = ("train", "train") if split == "train" else ("validation", "val")
        path = self._find(official, f"{short}_videofolder.txt", f"{short}.txt")
        listed = self._official(path) if path.suffix == self.form else _listed(path)
        files = annotation.by_stem(self.files.originals(self.videos, self.root, depth=1))
        entries = [Entry(i, files.get(i, self.videos / f"{i}{self.unseen}"), label) for i, label in listed]
        return annotation.clips(path, entries, self.labels)

    def _find(self, name: str, *others: str) -> Path:
        names = (f"{prefix}{name}{self.form}" for prefix in (f"something-something-v{self.version}-", ""))
        return annotation.find(self.root, *names, *others)

    def _labels(self) -> list[str]:
        return annotation.read_numbered(self._find("labels"))

    def _official(self, path: Path) -> list[tuple[str, str]]:
        entries = annotation.read_records(path, "id", "template")
        return [(str(entry["id"]), plain(entry["template"])) for entry in entries]


def plain(template: str) -> str:
    """The label of a template: "Holding [something]" without its brackets."""
    return template.replace("[", "").replace("]", "")


def _listed(path: Path) -> list[tuple[str, str]]:
    return [(name.rpartition("/")[2], label) for name, _, label in annotation.read_rows(path, _LIST)]
