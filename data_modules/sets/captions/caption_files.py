"""Files of captions, and one clear sentence for each way in which they can be wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_modules.sets.annotations.text_table import table
from data_modules.sets.captions.caption_text import Script, WrittenCaption, fault
from data_modules.video.suffixes import is_video


def captioned(
    listing: Path,
    names: Sequence[str],
    source: Path,
    captions: Mapping[str, Sequence[WrittenCaption]],
    script: Script,
) -> list[tuple[str, ...]]:
    """What ``source`` says of each video that ``listing`` names, as it is written there; a tokenizer cuts what is long.

    Raises:
        ValueError: nothing listed, a video listed twice or without captions, or a caption that
            :func:`~data_modules.sets.captions.caption_text.fault` finds wrong.
    """
    if not names:
        raise ValueError(f"{listing}: lists no video")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{listing}: video {name} is listed {count} times")
    unknown = [name for name in names if not captions.get(name)]
    if unknown and is_video(unknown[0]) and Path(unknown[0]).stem in captions:
        raise ValueError(
            f"{listing}: names files, the first {unknown[0]}; remove the "
            f"suffixes, as {source} has none"
        )
    if unknown:
        raise ValueError(
            f"{source}: has no caption of {len(unknown)} of the {len(names)} "
            f"videos that {listing.name} lists, the "
            f"first {unknown[0]}; is one of the two of another split or another "
            "data set?"
        )
    for name in names:
        for number, (caption, line) in enumerate(captions[name]):
            if wrong := fault(caption, script):
                place = f"{source}, line {line}" if line else str(source)
                raise ValueError(f"{place}: caption {number} of video {name} {wrong}")
    return [tuple(str(caption) for caption, _ in captions[name]) for name in names]


def read_csv(
    path: Path, *columns: str, others: Sequence[str] = ()
) -> list[tuple[int, list[str]]]:
    """The number of each line below the header of a comma-separated file, and its cells of these columns.

    Args:
        path: the file; a quoted cell may hold commas, quotes and line breaks.
        columns: the names of those that are read.
        others: the names of those that may also be there.

    Raises:
        ValueError: a column that is absent or not known, a line with more or fewer cells, or a file that is no
            comma-separated text.
    """
    found = table(path, ",")
    header = found.header(path, columns, others)
    places = [header.index(column) for column in columns]
    return [
        (row.line, [row.cells[place] for place in places]) for row in found.rows[1:]
    ]
