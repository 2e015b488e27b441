"""Files of captions, and one clear sentence for each way in which they can be wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.annotations.text_table import table
from data_modules.sets.captions.caption_text import Script, WrittenCaption, fault
from data_modules.video.suffixes import is_video


class VideoNames(NamedTuple):
    """Hold the videos of a split: the file that lists them, and their names in order."""

    path: Path
    names: Sequence[str]


class CaptionFile(NamedTuple):
    """Hold what a file says of videos, by their names."""

    path: Path
    captions: Mapping[str, Sequence[WrittenCaption]]


def captioned(
    listed: VideoNames, source: CaptionFile, script: Script
) -> list[tuple[str, ...]]:
    """Return what ``source`` says of each listed video, as it is written there.

    A tokenizer cuts what is long.

    Raises:
        ValueError: nothing listed, a video listed twice or without captions, or a
            caption that :func:`~data_modules.sets.captions.caption_text.fault` finds
            wrong.
    """
    if not listed.names:
        raise ValueError(f"{listed.path}: lists no video")
    name, count = Counter(listed.names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{listed.path}: video {name} is listed {count} times")
    _require_all(listed, source)
    found = list[tuple[str, ...]]()
    for name in listed.names:
        captions = source.captions[name]
        for number, written in enumerate(captions):
            wrong = fault(written.caption, script)
            if wrong:
                line = f", line {written.line}" if written.line else ""
                raise ValueError(
                    f"{source.path}{line}: caption {number} of video {name} {wrong}"
                )
        found.append(tuple(str(written.caption) for written in captions))
    return found


def _require_all(listed: VideoNames, source: CaptionFile) -> None:
    """Refuse listed videos without captions by ValueError."""
    unknown = [name for name in listed.names if not source.captions.get(name)]
    if not unknown:
        return
    first = unknown[0]
    if is_video(first) and Path(first).stem in source.captions:
        raise ValueError(
            f"{listed.path}: names files, the first {first}; remove the suffixes, as "
            f"{source.path} has none"
        )
    raise ValueError(
        f"{source.path}: has no caption of {len(unknown)} of the {len(listed.names)} "
        f"videos that {listed.path.name} lists, the first {first}; is one of the two of "
        "another split or another data set?"
    )


def read_csv(
    path: Path, *columns: str, others: Sequence[str] = ()
) -> list[tuple[int, list[str]]]:
    """Return the number of each line below a header, and its cells of these columns.

    Args:
        path: a comma-separated file; a quoted cell may hold commas, quotes and line
            breaks.
        columns: the names of those that are read.
        others: the names of those that may also be there.

    Raises:
        ValueError: a column that is absent or not known, a line with more or fewer
            cells, or a file that is no comma-separated text.
    """
    found = table(path, ",")
    header = found.header(path, columns, others)
    places = list(map(header.index, columns))
    lines = list[tuple[int, list[str]]]()
    for row in found.rows[1:]:
        lines.append((row.line, [row.cells[place] for place in places]))
    return lines
