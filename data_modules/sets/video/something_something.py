"""Something-Something V2 (Goyal et al., arXiv 1706.04261; 174 classes)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.annotations.list_reader import COUNT
from data_modules.sets.annotations.video_lookup import VideoLookup, sample
from data_modules.sets.video.annotated_videos import AnnotatedVideos

# of many repositories, some with folders before the id; frames are counted anew
_LIST = "id num_frames label"
_COMPARED = 5  # videos whose frames are counted
# lists count frames at the rate at which they were extracted, and hardly at a third of
# that of the videos
_FEW = 3


class _CountedClip(NamedTuple):
    """Hold a line of a list that counts frames."""

    clip_id: str
    num_frames: int
    label: str


class SomethingSomething(AnnotatedVideos):
    """Read videos, and lists in JSON.

    The labels of the test list are not public: test is the validation list. Annotation
    files are ``{labels,train,validation}.json``, each also with
    ``something-something-v2-`` before it; a label is the template without its brackets.
    In their place ``{train,val}_videofolder.txt`` or ``{train,val}.txt`` may list
    ``id num_frames label`` by the numbers of the labels file.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of ``<id>.webm`` or ``<id>.mp4``, or of a folder of frames a
            video, from ``root`` unless absolute. Where not given,
            ``20bn-something-something-v2``, a folder of that name in it, or ``videos``.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no labels file.
        ValueError: labels that do not number classes from 0 on.
    """

    CLASSES = 174

    version: ClassVar[int] = 2
    form: ClassVar[str] = ".json"  # of the annotation
    unseen: ClassVar[str] = ".webm"  # suffix of a video that is not on disk

    def __init__(self, root: str, *, videos: str = "", **kwargs: Any) -> None:
        self.root = Path(root)
        official = f"20bn-something-something-v{self.version}"
        self.videos = self.root / (videos or official)
        self._others = list[Path]()
        if not videos:
            self._others = [self.videos / official, self.root / "videos"]
        super().__init__(self._labels(), **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also others."""
        del split
        return [self.videos, *self._others]

    def clips(self, split: Split) -> list[Clip]:
        """Return the videos of a split in the order of its list.

        Raises:
            FileNotFoundError: no list.
            ValueError: an empty list, a damaged or repeated entry, or a label outside
                the labels file.
        """
        path = self._list(split)
        counted = list[_CountedClip]()
        if path.suffix != self.form:
            counted = _counted(path)
        listed = [(row.clip_id, row.label) for row in counted]
        entries = list[ListedClip]()
        for clip_id, label in listed or self._official(path):
            place = self.videos / f"{clip_id}{self.unseen}"
            entries.append(ListedClip(clip_id, place, label))
        entries = self.with_paths(split, entries)
        # before the labels are checked: with several labels a video they are wrong, too
        self._require_frames(path, counted, entries)
        return annotation.clips(path, entries, self.all_labels)

    def _list(self, split: Split) -> Path:
        if split == "train":
            return self._find("train", "train_videofolder.txt", "train.txt")
        return self._find("validation", "val_videofolder.txt", "val.txt")

    def _require_frames(
        self,
        path: Path,
        rows: Sequence[_CountedClip],
        entries: Sequence[ListedClip],
    ) -> None:
        """Refuse a second column that is far below the number of frames of a few videos.

        Raises:
            ValueError: it is so for all of those that are there.
        """
        seen = VideoLookup(Path(), self.files, self.root)
        wrong = list[tuple[_CountedClip, int]]()
        pairs = list(
            zip(rows, entries, strict=False)
        )  # an official list has no rows
        for row, entry in sample(pairs, _COMPARED):
            frames = seen.num_frames(str(entry.path))
            if not frames:
                continue
            if _FEW * row.num_frames >= frames:
                return
            wrong.append((row, frames))
        if wrong:
            row, frames = wrong[0]
            raise ValueError(
                f"{path}: expected {_LIST!r} in each line, and {row.clip_id} has "
                f"{frames} frames, not {row.num_frames}; several labels of a video are "
                "not read"
            )

    def _find(self, name: str, *others: str) -> Path:
        """Return an annotation file with or without the name of the data set."""
        file = f"{name}{self.form}"
        official = f"something-something-v{self.version}-{file}"
        return annotation.find(self.root, official, file, *others)

    def _labels(self) -> list[str]:
        """Return the classes in the order of their numbers."""
        return list(map(plain, annotation.read_numbered(self._find("labels"))))

    def _official(self, path: Path) -> list[tuple[str, str]]:
        """Return name and label of each video of an official list."""
        found = list[tuple[str, str]]()
        for entry in annotation.read_records(path, "id", "template"):
            clip_id = annotation.text(path, entry, "id")
            template = annotation.text(path, entry, "template")
            found.append((clip_id, plain(template)))
        return found


def plain(template: str) -> str:
    """Return the label of a template, which is the template without its brackets.

    >>> plain("Holding [something]")
    'Holding something'
    """
    return template.replace("[", "").replace("]", "")


def _counted(path: Path) -> list[_CountedClip]:
    """Return the lines of a list that counts frames; ValueError for no number."""
    found = list[_CountedClip]()
    for row in annotation.read_rows(path, _LIST):
        name, count, label = row
        if not COUNT.fullmatch(count):
            raise ValueError(
                f"{path}: expected {_LIST!r} in each line, and {count!r} of {row} is no "
                "number of frames"
            )
        found.append(_CountedClip(name.rpartition("/")[2], int(count), label))
    return found
