"""Annotation files to clips, and one clear sentence for each way in which they can be wrong.

Whether the listed videos exist is not asked here:
:class:`~data_modules.loading.data_module.VideoDataModule` does that for all.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules.sample import Clip
from data_modules.sets.annotations.text_file import read_text, text_lines
from data_modules.sets.annotations.text_table import (
    SEPARATORS,
    TextTable,
    table,
    tables,
)


class ListedClip(NamedTuple):
    """Hold one line of a list.

    Attributes:
        clip_id: the annotation's name of the video.
        path: where it lies, or would lie.
        label: the name of a class, or its number.
        line: number of the line, from 1; 0: not known.
    """

    clip_id: str
    path: Path
    label: str
    line: int = 0


def find(root: Path, *names: str) -> Path:
    """Return the first of ``names`` that is a file under ``root``.

    Raises:
        FileNotFoundError: none is.
    """
    for name in names:
        if (root / name).is_file():
            return root / name
    others = f" nor {', '.join(names[1:])} beside it" if names[1:] else ""
    raise FileNotFoundError(f"no annotation file {root / names[0]}{others}")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: it is none, or an object in it has the same key twice.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not a JSON file: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a JSON file; json.loads would drop all but the last value."""
    content = dict(pairs)
    if len(content) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(
            f"an object has the key {key!r:.60} twice, and only one of the two "
            "would be read"
        )
    return content


def read_records(path: Path, *keys: str) -> list[dict[str, Any]]:
    """Return the list of objects in a JSON file; errors as of :func:`records`."""
    return records(path, read_json(path), *keys)


def records(path: Path, found: object, *keys: str) -> list[dict[str, Any]]:
    """Return ``found``, which was read from ``path``, as a list of objects.

    Raises:
        ValueError: it is anything else, is empty, or an object lacks one of ``keys``.
    """
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path}: expected a list that is not empty")
    wanted = set(keys)
    for number, record in enumerate(cast(list[Any], found)):
        if (
            isinstance(record, dict)
            and wanted <= cast(dict[str, Any], record).keys()
        ):
            continue
        raise ValueError(
            f"{path}: entry {number} is {short(record)}; expected at least "
            f"{' and '.join(keys)}"
        )
    return cast(list[dict[str, Any]], found)


def text(path: Path, record: Mapping[str, Any], key: str) -> str:
    """Return a name or a whole number in a record of a JSON file as text.

    Raises:
        ValueError: it is anything else, or a blank text.
    """
    value = record[key]
    # to Python true is a whole number, too
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{path}: expected a name or a whole number as {key}, got {short(record)}"
        )
    return value


def read_numbered(path: Path) -> list[str]:
    """Return the names of a JSON file ``{name: number}`` in the order of their numbers.

    Raises:
        ValueError: the numbers are not 0, 1, 2, ...
    """
    content = read_json(path)
    names = dict[str, str]()
    if isinstance(content, dict):
        for name, number in cast(dict[str, Any], content).items():
            names[str(number)] = name  # written as 0 or as "0"
    numbers = list(map(str, range(len(names))))
    if not names or set(names) != set(numbers):
        raise ValueError(
            f"{path}: expected {{label: number}} with the numbers 0, 1, 2, ...; "
            f"got {short(content)}"
        )
    return [names[number] for number in numbers]


def read_lines(path: Path) -> list[str]:
    """Return the lines that are not blank.

    Raises:
        ValueError: there are none, or the file is no text.
    """
    return [line for _, line in text_lines(path)]


def read_rows(path: Path, *forms: str, separator: str = "") -> list[list[str]]:
    """Return lines as columns, all of one form.

    Args:
        path: the file.
        forms: what lines may look like, such as ``"id num_frames label"``.
        separator: what parts columns; where not given, the one of tab, semicolon, comma
            and blanks that parts all lines into the columns of a form.

    Raises:
        ValueError: an empty file, or lines that are not all of one of the forms.
    """
    widths = {len(form.split()) for form in forms}
    read_text(path)  # raises for what is no UTF-8, which `tables` lets pass
    found = [table(path, separator)] if separator else _plain_tables(path)
    for one in found:
        width = len(one.rows[0].cells)
        if width in widths and one.has_width(width):
            return [list(row.cells) for row in one.rows]
    raise _unlike(path, found[0], forms, widths)


def _plain_tables(path: Path) -> list[TextTable]:
    """Return the lines parted by each separator; "last blank" is none of them."""
    found, _ = tables(path)
    return [one for one in found if one.separator in SEPARATORS]


def _unlike(
    path: Path, found: TextTable, forms: Sequence[str], widths: set[int]
) -> ValueError:
    """Return an error that names the first line of none of the forms.

    Where each is of one of them, it is the first that is not as the first line is.
    """
    wrong = [row for row in found.rows if len(row.cells) not in widths]
    if not wrong:
        width = len(found.rows[0].cells)
        wrong = [row for row in found.rows if len(row.cells) != width]
    expected = " or ".join(map(repr, forms))
    return ValueError(
        f"{path}, line {wrong[0].line} {found.shown(wrong[0])}: expected {expected} "
        "in each line, all of one form"
    )


def read_table(
    path: Path, *columns: str, others: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Return the lines below the header of a comma-separated file as {column: cell}.

    Raises:
        ValueError: a header that lacks one of ``columns`` or has one that is not among
            ``others`` either, or a line with more or fewer cells.
    """
    found = table(path, ",")
    header = found.header(path, columns, others)
    return [dict(zip(header, row.cells, strict=True)) for row in found.rows[1:]]


def clips(
    source: Path, entries: Sequence[ListedClip], labels: Sequence[str]
) -> list[Clip]:
    """Return the clips of a list, in its order.

    Labels are all names of classes or all their numbers; which of the two is decided
    once for the list.

    Raises:
        ValueError: nothing listed, a clip listed twice, a label that is no class, or
            numbers that are also names of other classes.
    """
    if not entries:
        raise ValueError(f"{source}: the list is empty")
    require_unique(source, entries, [entry.clip_id for entry in entries])
    numbers = _numbers(source, entries, labels)
    return [
        Clip(entry.clip_id, entry.path, numbers[entry.label]) for entry in entries
    ]


def require_unique(
    source: Path, entries: Sequence[ListedClip], keys: Sequence[object]
) -> None:
    """Refuse two entries with the same key by ValueError."""
    first = dict[object, ListedClip]()
    for entry, key in zip(entries, keys, strict=True):
        other = first.setdefault(key, entry)
        if other is not entry:
            raise _twice(source, other, entry)


def _twice(source: Path, first: ListedClip, second: ListedClip) -> ValueError:
    lines = "twice or more"
    if second.line:
        lines = f"in lines {first.line} and {second.line}"
    labels = ""
    if first.label != second.label:
        labels = f", with the labels {first.label!r} and {second.label!r}"
    return ValueError(f"{source}: clip {second.clip_id} is listed {lines}{labels}")


def _numbers(
    source: Path, entries: Sequence[ListedClip], labels: Sequence[str]
) -> dict[str, int]:
    """Return the number of the class that each label of a list stands for."""
    by_name = {label: number for number, label in enumerate(labels)}
    by_number = {str(number): number for number in range(len(labels))}
    found = {entry.label for entry in entries}
    if found <= by_name.keys():
        if found <= by_number.keys():
            # the classes 1 and 0 in this order, say: 0 is a name and another number
            _require_equal(source, found, by_name, labels)
        return by_name
    if found <= by_number.keys():
        return by_number
    known = by_name if found & by_name.keys() else by_number
    entry = next(entry for entry in entries if entry.label not in known)
    place = f"{source}, line {entry.line}" if entry.line else str(source)
    raise ValueError(
        f"{place}: clip {entry.clip_id} has label {entry.label!r}, not among the "
        f"{len(labels)} of the data set; labels are all names, such as {labels[0]!r}, "
        f"or all numbers from 0 to {len(labels) - 1}"
    )


def _require_equal(
    source: Path,
    found: set[str],
    by_name: Mapping[str, int],
    labels: Sequence[str],
) -> None:
    """Refuse labels that name one class and number another by ValueError."""
    differing = [label for label in found if by_name[label] != int(label)]
    if differing:
        label = min(differing)
        other = labels[int(label)]
        raise ValueError(
            f"{source}: label {label!r} is the name of class {by_name[label]} and the "
            f"number of class {other!r}; give the classes names that are no numbers"
        )


def short(content: object) -> str:
    """Return the beginning of what a JSON file holds, as errors show it."""
    return json.dumps(content)[:60]
