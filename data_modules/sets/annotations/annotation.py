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
from data_modules.sets.annotations.text_table import SEPARATORS, table, tables


class ListedClip(NamedTuple):
    """One line of a list; ``label`` is the name of a class, or its number; ``line`` counts from 1, 0: not known."""

    clip_id: str
    path: Path
    label: str
    line: int = 0


def find(root: Path, *names: str) -> Path:
    """The first of ``names`` that is a file under ``root``; FileNotFoundError if none is."""
    for name in names:
        if (root / name).is_file():
            return root / name
    others = f" nor {', '.join(names[1:])} beside it" if names[1:] else ""
    raise FileNotFoundError(f"no annotation file {root / names[0]}{others}")


def read_json(path: Path) -> Any:
    """The content of a JSON file; ValueError if it is none, or if an object in it has the same key twice."""
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not a JSON file: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(
            f"an object has the key {key!r:.60} twice, and only one of the two "
            "would be read"
        )
    return content


def read_records(path: Path, *keys: str) -> list[dict[str, Any]]:
    """A list of objects that have ``keys`` from a JSON file; ValueError for anything else."""
    return records(path, read_json(path), *keys)


def records(path: Path, found: object, *keys: str) -> list[dict[str, Any]]:
    """``found``, read from ``path``, as a list of objects that have ``keys``; ValueError for anything else."""
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path}: expected a list that is not empty")
    for number, record in enumerate(cast(list[Any], found)):
        if (
            not isinstance(record, dict)
            or not set(keys) <= cast(dict[str, Any], record).keys()
        ):
            raise ValueError(
                f"{path}: entry {number} is {short(record)}; expected at least "
                f"{' and '.join(keys)}"
            )
    return cast(list[dict[str, Any]], found)


def text(path: Path, record: Mapping[str, Any], key: str) -> str:
    """A name or a whole number in a record of a JSON file as text; ValueError for anything else, and for no text."""
    value = record[key]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{path}: expected a name or a whole number as {key}, got {short(record)}"
        )
    return value


def read_numbered(path: Path) -> list[str]:
    """The names of a JSON file ``{name: number}`` in order; ValueError where the numbers are not 0, 1, 2, ..."""
    content = read_json(path)
    names = (
        {str(number): name for name, number in content.items()}
        if isinstance(content, dict)
        else {}
    )
    if not names or set(names) != {str(number) for number in range(len(names))}:
        raise ValueError(
            f"{path}: expected {{label: number}} with the numbers 0, 1, 2, ...; "
            f"got {short(content)}"
        )
    return [names[str(number)] for number in range(len(names))]


def read_lines(path: Path) -> list[str]:
    """The lines that are not blank; ValueError if there are none, or for what is no text."""
    return [line for _, line in text_lines(path)]


def read_rows(path: Path, *forms: str, separator: str = "") -> list[list[str]]:
    """Lines as columns, all of one form.

    Args:
        path: the file.
        forms: what lines may look like, such as ``"id num_frames label"``.
        separator: what parts columns; where not given, the one of tab, semicolon, comma and blanks that parts all lines
            into the columns of a form.

    Raises:
        ValueError: an empty file, or lines that are not all of one of the forms.
    """
    widths = {len(form.split()) for form in forms}
    read_text(path)  # raises for what is no UTF-8
    found = (
        [table(path, separator)]
        if separator
        else [t for t in tables(path)[0] if t.separator in SEPARATORS]
    )
    fitting = [
        t
        for t in found
        if len(t.rows[0].cells) in widths and t.has_width(len(t.rows[0].cells))
    ]
    if not fitting:
        first = found[0]
        row = next((row for row in first.rows if len(row.cells) not in widths), None)
        row = row or next(
            row for row in first.rows if len(row.cells) != len(first.rows[0].cells)
        )
        expected = " or ".join(map(repr, forms))
        raise ValueError(
            f"{path}, line {row.line} {first.shown(row)}: expected {expected} in "
            "each line, all of one form"
        )
    return [list(row.cells) for row in fitting[0].rows]


def read_table(
    path: Path, *columns: str, others: Sequence[str] = ()
) -> list[dict[str, str]]:
    """The lines below the header of a comma-separated file as {column: cell}.

    Raises:
        ValueError: a header that lacks one of ``columns`` or has one that is not among ``others`` either, or a line
            with more or fewer cells.
    """
    found = table(path, ",")
    header = found.header(path, columns, others)
    return [dict(zip(header, row.cells, strict=True)) for row in found.rows[1:]]


def clips(
    source: Path, entries: Sequence[ListedClip], labels: Sequence[str]
) -> list[Clip]:
    """The clips of a list, in its order.

    Labels are all names of classes or all their numbers; which of the two is decided once for the list.

    Raises:
        ValueError: nothing listed, a clip listed twice, a label that is no class, or numbers that are also
            names of other classes.
    """
    if not entries:
        raise ValueError(f"{source}: the list is empty")
    require_unique(source, entries, [entry.clip_id for entry in entries])
    numbers = _numbers(source, entries, labels)
    return [Clip(entry.clip_id, entry.path, numbers[entry.label]) for entry in entries]


def require_unique(
    source: Path, entries: Sequence[ListedClip], keys: Sequence[object]
) -> None:
    """ValueError where two entries have the same key."""
    first = dict[object, ListedClip]()
    for entry, key in zip(entries, keys, strict=True):
        other = first.setdefault(key, entry)
        if other is not entry:
            lines = (
                f"in lines {other.line} and {entry.line}"
                if entry.line
                else "twice or more"
            )
            labels = (
                f", with the labels {other.label!r} and {entry.label!r}"
                if other.label != entry.label
                else ""
            )
            raise ValueError(
                f"{source}: clip {entry.clip_id} is listed {lines}{labels}"
            )


def _numbers(
    source: Path, entries: Sequence[ListedClip], labels: Sequence[str]
) -> dict[str, int]:
    """The number of each label of a list."""
    by_name = {label: number for number, label in enumerate(labels)}
    by_number = {str(number): number for number in range(len(labels))}
    found = {entry.label for entry in entries}
    if (
        found <= by_name.keys()
        and found <= by_number.keys()
        and any(by_name[x] != by_number[x] for x in found)
    ):
        label = min(label for label in found if by_name[label] != by_number[label])
        raise ValueError(
            f"{source}: label {label!r} is the name of class {by_name[label]} and "
            "the number of class "
            f"{labels[int(label)]!r}; give the classes names that are no numbers"
        )
    if found <= by_name.keys():
        return by_name
    if found <= by_number.keys():
        return by_number
    known = by_name if found & by_name.keys() else by_number
    entry = next(entry for entry in entries if entry.label not in known)
    place = f"{source}, line {entry.line}" if entry.line else str(source)
    raise ValueError(
        f"{place}: clip {entry.clip_id} has label {entry.label!r}, not among the "
        f"{len(labels)} of the data set; labels "
        f"are all names, such as {labels[0]!r}, or all numbers from 0 to "
        f"{len(labels) - 1}"
    )


def short(content: object) -> str:
    """The beginning of what a JSON file holds, as errors show it."""
    return json.dumps(content)[:60]
