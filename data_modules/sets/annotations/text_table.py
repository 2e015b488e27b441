"""The lines of a list as cells, by each separator that may be meant."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.annotations.text_file import read_text, split_lines

SEPARATORS = {"\t": "tab", ";": "semicolon", ",": "comma", " ": "blank"}
LAST_BLANK = "last blank"  # parts "a b.mp4 1" into "a b.mp4" and "1"


class TextRow(NamedTuple):
    """One line.

    Attributes:
        line: its number, from 1; of a line with a line break in quotes, that of its beginning.
        cells: what its separators part, without the blanks around it.
    """

    line: int
    cells: tuple[str, ...]


class TextTable(NamedTuple):
    """A list, parted in one way.

    Attributes:
        separator: a key of :data:`SEPARATORS`, or :data:`LAST_BLANK`.
        rows: the lines that hold anything but separators and blanks.
    """

    separator: str
    rows: list[TextRow]

    @property
    def is_even(self) -> bool:
        """Whether each line has as many cells as the first, and more than one."""
        width = len(self.rows[0].cells)
        return width > 1 and self.has_width(width)

    def has_width(self, width: int) -> bool:
        """Whether each line has so many cells."""
        return all(len(row.cells) == width for row in self.rows)

    def header(
        self, path: Path, columns: Sequence[str], others: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The names in the first line of a file of known columns.

        Raises:
            ValueError: one of ``columns`` is not among them, another one is that is not among ``others`` either, one is
                there twice, or a line has more or fewer cells.
        """
        names, place = (
            self.rows[0].cells,
            f"{path}, line {self.rows[0].line}: the header {self.shown(self.rows[0])}",
        )
        absent = [name for name in columns if name not in names]
        if absent:
            raise ValueError(f"{place} has no column {', '.join(absent)}")
        unknown = [
            name or "one without a name"
            for name in names
            if name not in {*columns, *others}
        ]
        if unknown:
            known = ", ".join([*columns, *others])
            raise ValueError(
                f"{place} has columns that are not known: {', '.join(unknown)}; "
                f"known are {known}"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"{place} has a column twice")
        self.require_width(path, len(names))
        return names

    def shown(self, row: TextRow) -> str:
        """The line as errors show it."""
        mark = self.separator if self.separator in SEPARATORS else " "
        return repr(mark.join(row.cells)[:80])

    def column(self, number: int) -> list[str]:
        """A cell of each line, from 0."""
        return [row.cells[number] for row in self.rows]

    def require_width(self, path: Path, width: int) -> None:
        """ValueError names the first line that has not as many cells."""
        for row in self.rows:
            if len(row.cells) != width:
                raise ValueError(
                    f"{path}, line {row.line} {self.shown(row)}: expected {width} "
                    "columns as in line "
                    f"{self.rows[0].line}, {self.shown(self.rows[0])}, got "
                    f"{len(row.cells)}; a cell that holds a "
                    f"{SEPARATORS.get(self.separator, 'blank')} is put in double quotes"
                )


def table(path: Path, separator: str) -> TextTable:
    """The lines of a file, parted by one separator.

    Raises:
        ValueError: no line, a quote that is not closed, or a file that is no text.
    """
    try:
        rows = _rows(read_text(path), separator)
    except csv.Error as error:
        raise ValueError(
            f"{path}: is no text parted by {SEPARATORS[separator]}s: {error}"
        ) from error
    if not rows:
        raise ValueError(f"{path}: the list is empty")
    return TextTable(separator, rows)


def tables(path: Path, *, blanks: bool = True) -> tuple[list[TextTable], str]:
    """The lines of a file, parted by each separator that its first line has; the less likely ones last.

    Args:
        path: the file.
        blanks: whether blanks may be the separator.

    Returns:
        The tables, and why a separator has none: empty, or a quote that is not closed.

    Raises:
        ValueError: no line, no separator, a quote that is not closed by any of them, or a file that is no text; bytes
            that are no UTF-8 are kept as :func:`read_text` does.
    """
    text = read_text(path, any_bytes=True)
    number, first = next(
        ((n, line) for n, line in enumerate(split_lines(text), 1) if line.strip()),
        (0, ""),
    )
    if not first:
        raise ValueError(f"{path}: the list is empty")
    found, wrong = list[TextTable](), ""
    for separator in _separators(text, first.strip(), blanks):
        try:
            found.append(TextTable(separator, _rows(text, separator)))
        except csv.Error as error:
            wrong = (
                wrong
                or f"{path}: is no text parted by {SEPARATORS[separator]}s: {error}"
            )
    if not found:
        raise ValueError(
            wrong
            or (
                f"{path}, line {number} {first[:80]!r}: has one column, expected two "
                "or more"
            )
        )
    return found, wrong


def _separators(text: str, first: str, blanks: bool) -> Iterable[str]:
    marks = [mark for mark in SEPARATORS if mark in first and (blanks or mark != " ")]
    if blanks and "\t" in first and " " not in marks:
        marks.append(" ")  # a tab is a blank, too
    return [*marks, LAST_BLANK] if " " in marks and '"' not in text else marks


def _rows(text: str, separator: str) -> list[TextRow]:
    if separator == LAST_BLANK:
        return [
            TextRow(n, tuple(line.rsplit(maxsplit=1)))
            for n, line in enumerate(split_lines(text), 1)
            if line.strip()
        ]
    text = text.replace("\t", " ") if separator == " " else text
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        skipinitialspace=True,
        strict=True,
    )
    rows, line = list[TextRow](), 1
    for cells in reader:
        rows.append(TextRow(line, _stripped(cells, separator)))
        line = reader.line_num + 1
    return [row for row in rows if any(row.cells)]


def _stripped(cells: list[str], separator: str) -> tuple[str, ...]:
    found = [cell.strip(" \t") for cell in cells]
    while (
        separator == " " and found and not found[-1]
    ):  # blanks at the end of a line part nothing
        found.pop()
    return tuple(found)
