"""Something-Something V2 (Goyal et al., arXiv 1706.04261; 174 classes) in its official files."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from data_modules.base import Split, VideoDataModule
from data_modules.dataset import Clip

_SUFFIXES = (".mp4", ".webm")  # the later one is taken where both are there
_FILES: dict[Split, str] = {"train": "train", "val": "validation", "test": "validation"}


class SomethingSomething(VideoDataModule):
    """The official lists and videos. The labels of the test list are not public: test is the validation list.

    Annotation files are ``{labels,train,validation}.json``, each also under its older name with
    ``something-something-v2-`` before it. A label is the template without its brackets.

    Args:
        root: the folder that holds the annotation files.
        videos: the folder of ``<id>.webm`` or ``<id>.mp4``, from ``root`` unless absolute.
        kwargs: those of :class:`~data_modules.base.VideoDataModule`.

    Raises:
        FileNotFoundError: no labels file.
        ValueError: labels that do not number classes from 0 on.
    """

    def __init__(self, root: str, *, videos: str = "20bn-something-something-v2", **kwargs: Any) -> None:
        self.root, self.videos = Path(root), Path(root) / videos
        super().__init__(_labels(_annotation(self.root, "labels")), **kwargs)

    def clips(self, split: Split) -> list[Clip]:
        """In the order of the list.

        Raises:
            FileNotFoundError: no list, no folder of videos, or videos missing from it.
            ValueError: an empty list, an entry without an id or template, or a label outside the labels file.
        """
        path = _annotation(self.root, _FILES[split])
        index = {label: number for number, label in enumerate(self.labels)}
        labels = {clip_id: _label(path, clip_id, template, index) for clip_id, template in _entries(path)}
        paths = _paths(self.videos, list(labels))
        return [Clip(clip_id, paths[clip_id], label) for clip_id, label in labels.items()]


def _annotation(root: Path, name: str) -> Path:
    candidates = [root / f"something-something-v2-{name}.json", root / f"{name}.json"]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(f"no annotation file {candidates[0]} nor {candidates[1].name} beside it")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not a JSON file: {error}") from error


def _labels(path: Path) -> list[str]:
    numbers = {int(number): label for label, number in _read(path).items()}
    if not numbers or sorted(numbers) != list(range(len(numbers))):
        raise ValueError(f"{path}: expected {{label: number}} with the numbers 0, 1, 2, ...; got {sorted(numbers)[:5]}")
    return [numbers[number] for number in range(len(numbers))]


def _entries(path: Path) -> list[tuple[str, str]]:
    entries: list[dict[str, Any]] = _read(path)
    if not entries:
        raise ValueError(f"{path}: the list is empty")
    for number, entry in enumerate(entries):
        if not {"id", "template"} <= entry.keys():
            raise ValueError(f"{path}: entry {number} has {sorted(entry)}; expected at least id and template")
    clip_id, count = Counter(str(entry["id"]) for entry in entries).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path}: clip {clip_id} is listed twice or more")
    return [(str(entry["id"]), entry["template"]) for entry in entries]


def _label(path: Path, clip_id: str, template: str, index: dict[str, int]) -> int:
    label = template.replace("[", "").replace("]", "")
    if label not in index:
        raise ValueError(f"{path}: clip {clip_id} has label {label!r}, not among the {len(index)} of the labels file")
    return index[label]


def _paths(folder: Path, clip_ids: list[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"videos: no such folder: {folder}")
    files = {file.stem: file for suffix in _SUFFIXES for file in folder.glob(f"*{suffix}")}
    missing = [clip_id for clip_id in clip_ids if clip_id not in files]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {len(missing)} of {len(clip_ids)} videos are missing (<id>.webm or <id>.mp4): "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
        )
    return files
