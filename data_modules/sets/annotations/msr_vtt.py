"""The sentences of MSR-VTT, in the JSON files in which they are published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules.sets.annotations import annotation

_ONE = (
    "MSRVTT_data.json",
    "videodatainfo_2017.json",
    "MSR_VTT.json",
)  # each of all videos
_TWO = (
    "train_val_videodatainfo.json",
    "test_videodatainfo.json",
)  # of the challenge of 2016


class Sentences(NamedTuple):
    """What the files say.

    Attributes:
        path: the first file.
        splits: (video, train or validate or test) in the order of the files; empty where they do not say.
        captions: (video, caption) in the order of the files.
    """

    path: Path
    splits: list[tuple[str, str]]
    captions: list[tuple[str, object]]


def read_sentences(root: Path) -> Sentences:
    """Read the one file of all videos, or the two of 2016.

    Raises:
        FileNotFoundError: neither is in ``root``.
        ValueError: a file of another form.
    """
    first = annotation.find(root, *_ONE, _TWO[0])
    paths = [first] if first.name in _ONE else [first, annotation.find(root, _TWO[1])]
    splits, captions = list[tuple[str, str]](), list[tuple[str, object]]()
    for path in paths:
        content = annotation.read_json(path)
        captions += _captions(path, content)
        splits += _splits(path, content)
    return Sentences(first, splits, captions)


def _splits(path: Path, content: Any) -> list[tuple[str, str]]:
    if isinstance(content, dict) and "annotations" in content:
        return []
    entries = _records(path, content, "videos", "video_id", "split")
    return [
        (annotation.text(path, entry, "video_id"), str(entry["split"]))
        for entry in entries
    ]


def _captions(path: Path, content: Any) -> Sequence[tuple[str, object]]:
    if isinstance(content, dict) and "annotations" in content:  # as COCO names them
        entries = _records(path, content, "annotations", "image_id", "caption")
        return [
            (annotation.text(path, entry, "image_id"), entry["caption"])
            for entry in entries
        ]
    entries = _records(path, content, "sentences", "video_id", "caption")
    return [
        (annotation.text(path, entry, "video_id"), entry["caption"])
        for entry in entries
    ]


def _records(path: Path, content: Any, name: str, *keys: str) -> list[dict[str, Any]]:
    if not isinstance(content, dict) or name not in content:
        raise ValueError(
            f"{path}: expected an object with the lists videos and sentences, got "
            f"{annotation.short(content)}"
        )
    return annotation.records(path, cast(dict[str, Any], content)[name], *keys)
