"""Something-Something V1 (Goyal et al., arXiv 1706.04261; 174 classes)."""

from pathlib import Path

from typing_extensions import override

from data_modules.sets.annotations import annotation
from data_modules.sets.video.something_something import SomethingSomething


class SomethingSomethingV1(SomethingSomething):
    """Read a folder of frames a video, and lists ``id;label``.

    Test is the validation list. Annotation files are
    ``something-something-v1-{labels,train,validation}.csv``, each also without what is
    before the last hyphen. The labels file has a name a line and no numbers: classes
    are numbered in the order of their sorted names, as in the lists
    ``id num_frames label`` that may stand in place of the official ones.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of ``<id>/00001.jpg``, from ``root`` unless absolute. Where
            not given, ``20bn-something-something-v1``, a folder of that name in it, or
            ``videos``.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        FileNotFoundError: no labels file.
        ValueError: an empty labels file, or a label twice in it.
    """

    CLASSES = 174

    version = 1
    form = ".csv"
    unseen = ""

    @override
    def _labels(self) -> list[str]:
        path = self._find("labels")
        rows = annotation.read_rows(path, "label", separator=";")
        labels = sorted(label for (label,) in rows)
        if len(set(labels)) < len(labels):
            raise ValueError(f"{path}: lists a label twice")
        return labels

    @override
    def _official(self, path: Path) -> list[tuple[str, str]]:
        rows = annotation.read_rows(path, "id label", separator=";")
        return [(clip_id, label) for clip_id, label in rows]
