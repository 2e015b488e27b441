"""The lists of Kinetics, in the two forms in which they are published: CSV of DeepMind, and JSON beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules.sets.annotations import annotation

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_OTHERS = (
    "split",
    "is_cc",
)  # the latter of the first lists of Kinetics-400: a Creative Commons license
_FORM = (
    '{youtube_id: {"annotations": {"label": class, "segment": [start, end]}, '
    '"subset": split}}'
)


class TrimmedClip(NamedTuple):
    """A part of a video.

    Attributes:
        label: name of its class.
        youtube_id: of the video.
        start: whole seconds, as names of files have them.
        end: whole seconds.
        split: as it is written; empty where it is not.
    """

    label: str
    youtube_id: str
    start: int
    end: int
    split: str


def read_trimmed(path: Path) -> list[TrimmedClip]:
    """The clips of a list, in its order.

    Raises:
        ValueError: a CSV without the published columns or with others, JSON of another form, no label, or times that
            are no numbers.
    """
    return _of_json(path) if path.suffix == ".json" else _of_csv(path)


def _of_csv(path: Path) -> list[TrimmedClip]:
    rows = annotation.read_table(path, *_COLUMNS, others=_OTHERS)
    return [
        _trimmed(path, row, row["time_start"], row["time_end"], row.get("split", ""))
        for row in rows
    ]


def _of_json(path: Path) -> list[TrimmedClip]:
    content = annotation.read_json(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected {_FORM}, got {annotation.short(content)}")
    return [
        _of_object(path, name, entry)
        for name, entry in cast(dict[str, Any], content).items()
    ]


def _of_object(path: Path, name: str, entry: Any) -> TrimmedClip:
    try:
        start, end = entry["annotations"]["segment"]
        row, split = (
            {"youtube_id": name, "label": entry["annotations"]["label"]},
            entry.get("subset", ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected {_FORM}; {name} has {annotation.short(entry)}"
        ) from error
    return _trimmed(path, row, start, end, split)


def _trimmed(
    path: Path, row: Mapping[str, Any], start: object, end: object, split: object
) -> TrimmedClip:
    label, name = (
        annotation.text(path, row, "label"),
        annotation.text(path, row, "youtube_id"),
    )
    try:
        seconds = int(float(str(start))), int(float(str(end)))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: times of clip {name} are no numbers: {error}"
        ) from error
    return TrimmedClip(label, name, *seconds, str(split))
