"""Kinetics-400, -600 and -700.

They are of Kay et al., arXiv 1705.06950, and Carreira et al., arXiv 1808.01340 and
1907.06987.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from data_modules.sample import Clip, Split
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip
from data_modules.sets.annotations.kinetics import TrimmedClip, read_trimmed
from data_modules.sets.video.annotated_videos import AnnotatedVideos
from data_modules.storage.finder import plain_times

_VIDEOS = "{split}"
_PUBLISHED = (400, 600, 700)  # classes
_FILES: dict[Split, str] = {"train": "train", "val": "val", "test": "val"}


class Kinetics(AnnotatedVideos):
    """Read the official lists and one file a clip, ``<id>_<start>_<end>.mp4``.

    Clips lie flat or in class folders. Names of files are compared without suffix and
    leading zeros, those of class folders by their letters and digits: "playing piano"
    and "playing_piano" are one. So the videos may lie as cvdfoundation extracts them,
    as its ``arrange_by_classes.py`` or ActivityNet's crawler sort them, or as other
    code renames them.

    Annotation files are ``train.csv`` and ``val.csv``, each also with ``kinetics_``
    before it and as ``.json``, in ``root`` or in ``annotations``. Classes are numbered
    in the order of their sorted names in the list of training. Test is the validation
    list, as in papers. Lists ``path label`` of published code are read by
    :class:`~data_modules.sets.video.video_list.VideoList`.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of the videos or of the class folders, from ``root`` unless
            absolute; ``{split}`` in it stands for train or val. By default videos of
            ``replacement`` come before those of ``{split}``, which are damaged, and
            ``videos/{split}`` and ``videos_{split}`` are searched for what is in
            neither.
        num_classes: 400, 600 or 700, to be sure that the list is that of this data set.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no list of training.
        ValueError: a list in none of the official forms, or other than ``num_classes``
            classes in it.
    """

    depth = 2

    def __init__(
        self,
        root: str,
        *,
        videos: str = _VIDEOS,
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.root = Path(root)
        self.videos = videos
        path = self._find("train")
        labels = sorted({clip.label for clip in read_trimmed(path)})
        if num_classes not in (None, len(labels)):
            raise ValueError(
                f"{path}: holds {len(labels)} classes, not num_classes={num_classes}"
            )
        super().__init__(labels, **kwargs)

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also other layouts."""
        places = [self.videos]
        if self.videos == _VIDEOS:
            places = ["replacement", _VIDEOS, "videos/{split}", "videos_{split}"]
        name = _FILES[split]
        return [self.root / place.replace("{split}", name) for place in places]

    @staticmethod
    @override
    def same(name: str) -> str:
        return plain_times(name)

    def clips(self, split: Split) -> list[Clip]:
        """Return the clips of a split in the order of its list.

        Raises:
            FileNotFoundError: no list.
            ValueError: a list of another split, in none of the official forms, or with
                a class that training lacks.
        """
        name = _FILES[split]
        path = self._find(name)
        if split == "train" and len(self.all_labels) not in _PUBLISHED:
            self.note(
                split,
                f"{len(self.all_labels)} classes are listed in {path}; Kinetics has 400, "
                "600 or 700",
            )
        trimmed = read_trimmed(path)
        _require_split(path, trimmed, name)
        folder = self.root / self.videos.replace("{split}", name)
        entries = list[ListedClip]()
        for clip in trimmed:
            clip_id = _clip_id(clip)
            entries.append(
                ListedClip(clip_id, folder / f"{clip_id}.mp4", clip.label)
            )
        entries = self.with_paths(split, entries, in_class_folders=True)
        return annotation.clips(path, entries, self.all_labels)

    def _find(self, name: str) -> Path:
        """Return the list of a split under any of its published names."""
        files = list[str]()
        for form in ("csv", "json"):
            files += [f"{name}.{form}", f"kinetics_{name}.{form}"]
        below = [f"annotations/{file}" for file in files]
        return annotation.find(self.root, *files, *below)


def _require_split(path: Path, clips: Sequence[TrimmedClip], name: str) -> None:
    """Refuse a list that says it is of another split by ValueError."""
    # some lists write "validate"
    splits = {clip.split for clip in clips if clip.split}
    others = sorted(split for split in splits if not split.startswith(name))
    if others:
        raise ValueError(
            f"{path}: lists clips of the split {others[0]!r}, expected {name}"
        )


def _clip_id(clip: TrimmedClip) -> str:
    folder = clip.label.replace(" ", "_")
    return f"{folder}/{clip.youtube_id}_{clip.start:06d}_{clip.end:06d}"
