"""Kinetics-400, -600 and -700 (Kay et al., arXiv 1705.06950; Carreira et al., 1808.01340, 1907.06987)."""

from pathlib import Path
from typing import Any

from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip
from data_modules.sets import annotation
from data_modules.sets.annotation import Entry

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_OTHERS = ("split", "is_cc")  # the latter of the first lists of Kinetics-400: a Creative Commons license
_FILES: dict[Split, str] = {"train": "train", "val": "val", "test": "val"}


class Kinetics(VideoDataModule):
    """The official lists and one file a clip: ``<class_with_underscores>/<id>_<start>_<end>.mp4``, six digits a time.

    Annotation files are ``train.csv`` and ``val.csv``, each also with ``kinetics_`` before it. Classes are numbered
    in the order of their sorted names in the list of training. Test is the validation list, as in papers. Lists
    ``path label`` of published code are read by :class:`~data_modules.sets.video_list.VideoList`.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of the class folders, from ``root`` unless absolute; ``{split}`` in it stands for train
            or val.
        num_classes: 400, 600 or 700, to be sure that the list is that of this data set.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no list of training.
        ValueError: a list without the official columns, or other than ``num_classes`` classes in it.
    """

    def __init__(self, root: str, *, videos: str = "{split}", num_classes: int | None = None, **kwargs: Any) -> None:
        self.root = Path(root)
        self.videos = videos
        path = self._find("train")
        labels = sorted({row["label"] for row in annotation.read_table(path, *_COLUMNS, others=_OTHERS)})
        if num_classes not in (None, len(labels)):
            raise ValueError(f"{path}: holds {len(labels)} classes, not num_classes={num_classes}")
        super().__init__(labels, **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list.
            ValueError: a list of another split, without the official columns, or with a class that training lacks.
        """
        name = _FILES[split]
        path = self._find(name)
        rows = annotation.read_table(path, *_COLUMNS, others=_OTHERS)
        others = sorted({row["split"] for row in rows if not row.get("split", name).startswith(name)})
        if others:
            raise ValueError(f"{path}: lists clips of the split {others[0]!r}, expected {name}")
        folder = self.root / self.videos.replace("{split}", name)
        listed = [(_clip_id(path, row), row["label"]) for row in rows]
        entries = [Entry(clip_id, folder / f"{clip_id}.mp4", label) for clip_id, label in listed]
        return annotation.clips(path, entries, self.labels)

    def _find(self, name: str) -> Path:
        return annotation.find(self.root, f"{name}.csv", f"kinetics_{name}.csv")


def _clip_id(path: Path, row: dict[str, str]) -> str:
    try:
        start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
    except ValueError as error:
        raise ValueError(f"{path}: times of clip {row['youtube_id']} are no numbers: {error}") from error
    return f"{row['label'].replace(' ', '_')}/{row['youtube_id']}_{start:06d}_{end:06d}"
