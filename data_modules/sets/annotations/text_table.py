"""The lines of a list as cells, by each separator that may be meant."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.annotations.text_file import read_text, split_lines

SEPARATORS = {"\t": "tab", ";": "semicolon", ",": "comma", " ": "blank"}
LAST_BLANK = "last blank"  # parts "a b.mp4 1" into "a b.mp4" and "1"
_SHOWN = 80  # letters of a line in an error


class TextRow(NamedTuple):
    """Hold one line.

    Attributes:
        line: its number, from 1; of a line with a line break in quotes, that of its
            beginning.
        cells: what its separators part, without the blanks around it.
    """

    line: int
    cells: tuple[str, ...]


class TextTable(NamedTuple):
    """Hold a list, parted in one way.

    Attributes:
        separator: a key of :data:`SEPARATORS`, or :data:`LAST_BLANK`.
        rows: the lines that hold anything but separators and blanks.
    """

    separator: str
    rows: list[TextRow]

    @property
    def is_even(self) -> bool:
        """Return whether each line has as many cells as the first, and more than one."""
        width = len(self.rows[0].cells)
        return width > 1 and self.has_width(width)

    def has_width(self, width: int) -> bool:
        """Tell whether each line has so many cells."""
        return all(len(row.cells) == width for row in self.rows)

    def header(
        self, path: Path, columns: Sequence[str], others: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Return the names in the first line of a file of known columns.

        Raises:
            ValueError: one of ``columns`` is not among them, another one is that is not
                among ``others`` either, one is there twice, or a line has more or fewer
                cells.
        """
        first = self.rows[0]
        names = first.cells
        place = f"{path}, line {first.line}: the header {self.shown(first)}"
        absent = [name for name in columns if name not in names]
        if absent:
            raise ValueError(f"{place} has no column {', '.join(absent)}")
        known = [*columns, *others]
        unknown = [name for name in names if name not in known]
        if unknown:
            told = ", ".join(name or "one without a name" for name in unknown)
            raise ValueError(
                f"{place} has columns that are not known: {told}; known are "
                f"{', '.join(known)}"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"{place} has a column twice")
        self.require_width(path, len(names))
        return names

    def shown(self, row: TextRow) -> str:
        """Return the line as errors show it."""
        mark = self.separator if self.separator in SEPARATORS else " "
        return repr(mark.join(row.cells)[:_SHOWN])

    def column(self, number: int) -> list[str]:
        """Return the cell number ``number``, from 0, of each line."""
        return [row.cells[number] for row in self.rows]

    def require_width(self, path: Path, width: int) -> None:
        """Refuse a line that has not so many cells.

        Raises:
            ValueError: names the first such line.
        """
        first = self.rows[0]
        for row in self.rows:
            if len(row.cells) != width:
                separator = SEPARATORS.get(self.separator, "blank")
                raise ValueError(
                    f"{path}, line {row.line} {self.shown(row)}: expected {width} "
                    f"columns as in line {first.line}, {self.shown(first)}, got "
                    f"{len(row.cells)}; a cell that holds a {separator} is put in "
                    "double quotes"
                )


def table(path: Path, separator: str) -> TextTable:
    """Return the lines of a file, parted by one separator.

    Raises:
        ValueError: no line, a quote that is not closed, or a file that is no text.
    """
    try:
        rows = _rows(read_text(path), separator)
    except csv.Error as error:
        raise ValueError(_misquoted(path, separator, error)) from error
    if not rows:
        raise ValueError(f"{path}: the list is empty")
    return TextTable(separator, rows)


def tables(path: Path, *, blanks: bool = True) -> tuple[list[TextTable], str]:
    """Return the lines of a file, parted by each separator that its first line has.

    The less likely ones come last.

    Args:
        path: the file.
        blanks: whether blanks may be the separator.

    Returns:
        The tables, and why a separator has none: empty, or a quote that is not closed.

    Raises:
        ValueError: no line, no separator, a quote that is not closed by any of them, or
            a file that is no text; bytes that are no UTF-8 are kept as
            :func:`read_text` does.
    """
    text = read_text(path, any_bytes=True)
    number, first = _first_line(text)
    if not first:
        raise ValueError(f"{path}: the list is empty")
    found = list[TextTable]()
    wrong = ""
    for separator in _separators(text, first.strip(), blanks):
        try:
            found.append(TextTable(separator, _rows(text, separator)))
        except csv.Error as error:
            wrong = wrong or _misquoted(path, separator, error)
    if not found:
        one_column = (
            f"{path}, line {number} {first[:_SHOWN]!r}: has one column, expected two "
            "or more"
        )
        raise ValueError(wrong or one_column)
    return found, wrong


def _misquoted(path: Path, separator: str, error: csv.Error) -> str:
    return f"{path}: is no text parted by {SEPARATORS[separator]}s: {error}"


def _first_line(text: str) -> tuple[int, str]:
    """Return the number of the first line that is not blank, and the line."""
    for number, line in enumerate(split_lines(text), 1):
        if line.strip():
            return number, line
    return 0, ""


def _separators(text: str, first: str, blanks: bool) -> list[str]:
    """Return the separators that the first line has, in the order of their likelihood."""
    marks = [mark for mark in SEPARATORS if mark in first]
    if not blanks:
        return [mark for mark in marks if mark != " "]
    if "\t" in first and " " not in marks:
        marks.append(" ")  # a tab is a blank, too
    # quotes are there to keep blanks in a cell; without them a name may hold some
    if " " in marks and '"' not in text:
        marks.append(LAST_BLANK)
    return marks


def _rows(text: str, separator: str) -> list[TextRow]:
    """Return the lines that hold anything; csv.Error for a quote that is not closed."""
    if separator == LAST_BLANK:
        return _rows_by_last_blank(text)
    if separator == " ":
        text = text.replace("\t", " ")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        skipinitialspace=True,
        strict=True,
    )
    rows = list[TextRow]()
    line = 1
    for cells in reader:
        row = TextRow(line, _stripped(cells, separator))
        if any(row.cells):
            rows.append(row)
        # the reader stands behind the row, which may have several lines
        line = reader.line_num + 1
    return rows


def _rows_by_last_blank(text: str) -> list[TextRow]:
    rows = list[TextRow]()
    for number, line in enumerate(split_lines(text), 1):
        if line.strip():
            rows.append(TextRow(number, tuple(line.rsplit(maxsplit=1))))
    return rows


def _stripped(cells: list[str], separator: str) -> tuple[str, ...]:
    found = [cell.strip(" \t") for cell in cells]
    # blanks at the end of a line part nothing
    while separator == " " and found and not found[-1]:
        found.pop()
    return tuple(found)
