"""The sentences of MSR-VTT, in the JSON files in which they are published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules.sets.annotations import annotation

# files of all videos, of which one is enough
_ONE = ("MSRVTT_data.json", "videodatainfo_2017.json", "MSR_VTT.json")
# the challenge of 2016 parted its videos into two files
_TWO = ("train_val_videodatainfo.json", "test_videodatainfo.json")


class Sentences(NamedTuple):
    """Hold what the files say.

    Attributes:
        path: the first file.
        splits: (video, train or validate or test) in the order of the files; empty
            where they do not say.
        captions: (video, caption) in the order of the files.
    """

    path: Path
    splits: list[tuple[str, str]]
    captions: list[tuple[str, object]]


def read_sentences(root: Path) -> Sentences:
    """Return what the one file of all videos says, or what the two of 2016 say.

    Raises:
        FileNotFoundError: neither is in ``root``.
        ValueError: a file of another form.
    """
    first = annotation.find(root, *_ONE, _TWO[0])
    paths = [first]
    if first.name not in _ONE:
        paths.append(annotation.find(root, _TWO[1]))
    found = Sentences(first, [], [])
    for path in paths:
        content = annotation.read_json(path)
        found.captions.extend(_captions(path, content))
        found.splits.extend(_splits(path, content))
    return found


def _splits(path: Path, content: Any) -> list[tuple[str, str]]:
    if _is_of_coco(content):  # which does not say
        return []
    splits = list[tuple[str, str]]()
    for entry in _records(path, content, "videos", "video_id", "split"):
        name = annotation.text(path, entry, "video_id")
        splits.append((name, str(entry["split"])))
    return splits


def _captions(path: Path, content: Any) -> Sequence[tuple[str, object]]:
    if _is_of_coco(content):
        name, key = "annotations", "image_id"
    else:
        name, key = "sentences", "video_id"
    captions = list[tuple[str, object]]()
    for entry in _records(path, content, name, key, "caption"):
        captions.append((annotation.text(path, entry, key), entry["caption"]))
    return captions


def _is_of_coco(content: Any) -> bool:
    """Tell whether a file names its lists as the captions of COCO do."""
    return isinstance(content, dict) and "annotations" in content


def _records(
    path: Path, content: Any, name: str, *keys: str
) -> list[dict[str, Any]]:
    if not isinstance(content, dict) or name not in content:
        raise ValueError(
            f"{path}: expected an object with the lists videos and sentences, got "
            f"{annotation.short(content)}"
        )
    return annotation.records(path, cast(dict[str, Any], content)[name], *keys)
