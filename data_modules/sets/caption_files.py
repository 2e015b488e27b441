"""Files of captions, and one clear sentence for each way in which they can be wrong."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_modules.sets.caption_text import Script, Written, fault


def captioned(
    listing: Path, names: Sequence[str], source: Path, captions: Mapping[str, Sequence[Written]], script: Script
) -> list[tuple[str, ...]]:
    """What ``source`` says of each video that ``listing`` names, as it is written there; a tokenizer cuts what is long.

    Raises:
        ValueError: nothing listed, a video listed twice or without captions, or a caption that
            :func:`~data_modules.sets.caption_text.fault` finds wrong.
    """
    if not names:
        raise ValueError(f"{listing}: lists no video")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{listing}: video {name} is listed {count} times")
    unknown = [name for name in names if not captions.get(name)]
    if unknown:
        raise ValueError(
            f"{source}: has no caption of {len(unknown)} of the {len(names)} videos that {listing.name} lists, the "
            f"first {unknown[0]}; is one of the two of another split or another data set?"
        )
    for name in names:
        for number, (caption, line) in enumerate(captions[name]):
            if wrong := fault(caption, script):
                place = f"{source}, line {line}" if line else str(source)
                raise ValueError(f"{place}: caption {number} of video {name} {wrong}")
    return [tuple(str(caption) for caption, _ in captions[name]) for name in names]


def read_csv(path: Path, *columns: str, header: bool = True) -> list[tuple[int, list[str]]]:
    """The number of each line and its cells of these columns; a quoted cell may hold commas, quotes and line breaks.

    Args:
        path: the file, comma-separated.
        columns: their names.
        header: the first line names the columns; where it need not, a file may also hold just these columns in order.

    Raises:
        ValueError: no such column, a line with another number of cells, or a file that is no CSV of UTF-8 text.
    """
    lines = _lines(path)
    if not lines:
        raise ValueError(f"{path}: is empty")
    names = [cell.strip() for cell in lines[0][1]]
    absent = [column for column in columns if column not in names]
    if absent and header:
        raise ValueError(f"{path}: the first line has no column {', '.join(absent)}; it reads {', '.join(names)}")
    lines, names = (lines, list(columns)) if absent else (lines[1:], names)
    for number, cells in lines:
        if len(cells) != len(names):
            raise ValueError(
                f"{path}, line {number}: expected {len(names)} cells, {','.join(names)}, got {len(cells)}; a cell that "
                "holds a comma is put in double quotes"
            )
    return [(number, [cells[names.index(column)] for column in columns]) for number, cells in lines]


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Cells that are not all blank, with the number of the line where they end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is no CSV of UTF-8 text: {error}") from error
