"""The lists of Kinetics, in the two forms in which they are published.

They are CSV of DeepMind, and JSON beside it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules.sets.annotations import annotation

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# the first lists of Kinetics-400 also say whether the license is Creative Commons
_OTHERS = ("split", "is_cc")
_FORM = (
    '{youtube_id: {"annotations": {"label": class, "segment": [start, end]}, '
    '"subset": split}}'
)


class TrimmedClip(NamedTuple):
    """Hold a part of a video.

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
    """Return the clips of a list, in its order.

    Raises:
        ValueError: a CSV without the published columns or with others, JSON of another
            form, no label, or times that are no numbers.
    """
    return _of_json(path) if path.suffix == ".json" else _of_csv(path)


def _of_csv(path: Path) -> list[TrimmedClip]:
    clips = list[TrimmedClip]()
    for row in annotation.read_table(path, *_COLUMNS, others=_OTHERS):
        times = (row["time_start"], row["time_end"])
        clips.append(_trimmed(path, row, times, row.get("split", "")))
    return clips


def _of_json(path: Path) -> list[TrimmedClip]:
    content = annotation.read_json(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path}: expected {_FORM}, got {annotation.short(content)}"
        )
    entries = cast(dict[str, Any], content)
    return [_of_object(path, name, entry) for name, entry in entries.items()]


def _of_object(path: Path, name: str, entry: Any) -> TrimmedClip:
    try:
        start, end = entry["annotations"]["segment"]
        label = entry["annotations"]["label"]
        split = entry.get("subset", "")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected {_FORM}; {name} has {annotation.short(entry)}"
        ) from error
    row = {"youtube_id": name, "label": label}
    return _trimmed(path, row, (start, end), split)


def _trimmed(
    path: Path, row: Mapping[str, Any], times: tuple[object, object], split: object
) -> TrimmedClip:
    label = annotation.text(path, row, "label")
    name = annotation.text(path, row, "youtube_id")
    try:
        # some lists write 12.0; names of files have whole seconds
        start, end = (int(float(str(time))) for time in times)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: times of clip {name} are no numbers: {error}"
        ) from error
    return TrimmedClip(label, name, start, end, str(split))
