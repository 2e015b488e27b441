"""The lines of a list as cells, by each separator that may be meant."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.list_text import read_text, split_lines

SEPARATORS = {"\t": "tab", ";": "semicolon", ",": "comma", " ": "blank"}
LAST_BLANK = "last blank"  # parts "a b.mp4 1" into "a b.mp4" and "1"


class Row(NamedTuple):
    """One line.

    Attributes:
        line: its number, from 1; of a line with a line break in quotes, that of its beginning.
        cells: what its separators part, without the blanks around it.
    """

    line: int
    cells: tuple[str, ...]


class Table(NamedTuple):
    """A list, parted in one way.

    Attributes:
        separator: a key of :data:`SEPARATORS`, or :data:`LAST_BLANK`.
        rows: the lines that hold anything but separators and blanks.
    """

    separator: str
    rows: list[Row]

    @property
    def is_even(self) -> bool:
        """Whether each line has as many cells as the first, and more than one."""
        width = len(self.rows[0].cells)
        return width > 1 and all(len(row.cells) == width for row in self.rows)

    def shown(self, row: Row) -> str:
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
                    f"{path}, line {row.line} {self.shown(row)}: expected {width} columns as in line "
                    f"{self.rows[0].line}, {self.shown(self.rows[0])}, got {len(row.cells)}; a cell that holds a "
                    f"{SEPARATORS.get(self.separator, 'blank')} is put in double quotes"
                )


def table(path: Path, separator: str) -> Table:
    """The lines of a file, parted by one separator.

    Raises:
        ValueError: no line, a quote that is not closed, or a file that is no text.
    """
    try:
        rows = _rows(read_text(path), separator)
    except csv.Error as error:
        raise ValueError(f"{path}: is no text parted by {SEPARATORS[separator]}s: {error}") from error
    if not rows:
        raise ValueError(f"{path}: the list is empty")
    return Table(separator, rows)


def tables(path: Path) -> list[Table]:
    """The lines of a file, parted by each separator that its first line has; the less likely ones last.

    Raises:
        ValueError: no line, no separator, a quote that is not closed by any of them, or a file that is no text.
    """
    text = read_text(path)
    number, first = next(((n, line) for n, line in enumerate(split_lines(text), 1) if line.strip()), (0, ""))
    if not first:
        raise ValueError(f"{path}: the list is empty")
    found, wrong = list[Table](), ""
    for separator in _separators(text, first):
        try:
            found.append(Table(separator, _rows(text, separator)))
        except csv.Error as error:
            wrong = wrong or f"is no text parted by {SEPARATORS[separator]}s: {error}"
    if not found:
        place = f"{path}, line {number} {first[:80]!r}"
        raise ValueError(f"{path}: {wrong}" if wrong else f"{place}: has one column, expected two or more")
    return [table for table in found if table.rows]


def _separators(text: str, first: str) -> Iterable[str]:
    marks = [mark for mark in SEPARATORS if mark in first.strip() or (mark == " " and "\t" in first.strip())]
    return [*marks, LAST_BLANK] if " " in marks and '"' not in text else marks


def _rows(text: str, separator: str) -> list[Row]:
    if separator == LAST_BLANK:
        return [Row(n, tuple(line.rsplit(maxsplit=1))) for n, line in enumerate(split_lines(text), 1) if line.strip()]
    text = text.replace("\t", " ") if separator == " " else text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    rows, line = list[Row](), 1
    for cells in reader:
        rows.append(Row(line, _stripped(cells, separator)))
        line = reader.line_num + 1
    return [row for row in rows if any(row.cells)]


def _stripped(cells: list[str], separator: str) -> tuple[str, ...]:
    found = [cell.strip(" \t") for cell in cells]
    while separator == " " and found and not found[-1]:  # blanks at the end of a line part nothing
        found.pop()
    return tuple(found)
