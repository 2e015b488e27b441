"""Something-Something V2 (Goyal et al., arXiv 1706.04261; 174 classes)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.annotations.list_reader import COUNT
from data_modules.sets.annotations.video_lookup import VideoLookup, sample
from data_modules.sets.video.annotated_videos import AnnotatedVideos
from data_modules.storage.finder import Wanted

_LIST = "id num_frames label"  # of many repositories, some with folders before the id; frames are counted anew
_FEW = 3  # lists count frames at the rate at which they were extracted, and hardly at a third of that of the videos


class SomethingSomething(AnnotatedVideos):
    """Videos, lists in JSON. The labels of the test list are not public: test is the validation list.

    Annotation files are ``{labels,train,validation}.json``, each also with ``something-something-v2-`` before it; a
    label is the template without its brackets. In their place ``{train,val}_videofolder.txt`` or ``{train,val}.txt``
    may list ``id num_frames label`` by the numbers of the labels file.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of ``<id>.webm`` or ``<id>.mp4``, or of a folder of frames a video, from ``root`` unless
            absolute. Where not given, ``20bn-something-something-v2``, a folder of that name in it, or ``videos``.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no labels file.
        ValueError: labels that do not number classes from 0 on.
    """

    CLASSES = 174

    version, form, unseen = (
        2,
        ".json",
        ".webm",
    )  # of the annotation, and of a video that is not on disk

    def __init__(self, root: str, *, videos: str = "", **kwargs: Any) -> None:
        self.root = Path(root)
        official = f"20bn-something-something-v{self.version}"
        self.videos = self.root / (videos or official)
        self._others = [] if videos else [self.videos / official, self.root / "videos"]
        super().__init__(self._labels(), **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; where it is not given also others."""
        del split
        return [self.videos, *self._others]

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list.
            ValueError: an empty list, a damaged or repeated entry, or a label outside the labels file.
        """
        official, short = (
            ("train", "train") if split == "train" else ("validation", "val")
        )
        path = self._find(official, f"{short}_videofolder.txt", f"{short}.txt")
        rows = [] if path.suffix == self.form else _counted(path)
        listed = (
            [(name, label) for name, _, label in rows] if rows else self._official(path)
        )
        paths = self.found(
            split, [Wanted(self.videos / f"{i}{self.unseen}") for i, _ in listed]
        )
        self._require_frames(path, rows, paths)
        entries = [
            ListedClip(i, file, label)
            for (i, label), file in zip(listed, paths, strict=True)
        ]
        return annotation.clips(path, entries, self.labels)

    def _require_frames(
        self, path: Path, rows: Sequence[tuple[str, int, str]], places: Sequence[Path]
    ) -> None:
        """ValueError where the second column is far below the number of frames of all of a few videos."""
        seen = VideoLookup(Path(), self.files, self.root)
        found = [
            (row, seen.num_frames(str(place)))
            for row, place in sample(list(zip(rows, places, strict=False)), 5)
        ]
        compared = [(row, frames) for row, frames in found if frames]
        if compared and all(
            _FEW * count < frames for (_, count, _), frames in compared
        ):
            (name, count, _), frames = compared[0]
            raise ValueError(
                f"{path}: expected {_LIST!r} in each line, and {name} has "
                f"{frames} frames, not {count}; several labels "
                "of a video are not read"
            )

    def _find(self, name: str, *others: str) -> Path:
        names = (
            f"{prefix}{name}{self.form}"
            for prefix in (f"something-something-v{self.version}-", "")
        )
        return annotation.find(self.root, *names, *others)

    def _labels(self) -> list[str]:
        return [
            plain(label) for label in annotation.read_numbered(self._find("labels"))
        ]

    def _official(self, path: Path) -> list[tuple[str, str]]:
        entries = annotation.read_records(path, "id", "template")
        return [
            (
                annotation.text(path, x, "id"),
                plain(annotation.text(path, x, "template")),
            )
            for x in entries
        ]


def plain(template: str) -> str:
    """The label of a template: "Holding [something]" without its brackets."""
    return template.replace("[", "").replace("]", "")


def _counted(path: Path) -> list[tuple[str, int, str]]:
    rows = annotation.read_rows(path, _LIST)
    for row in rows:
        if not COUNT.fullmatch(row[1]):
            raise ValueError(
                f"{path}: expected {_LIST!r} in each line, and {row[1]!r} of "
                f"{row} is no number of frames"
            )
    return [(name.rpartition("/")[2], int(count), label) for name, count, label in rows]
