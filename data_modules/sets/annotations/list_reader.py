"""Which column of a list is which: by its header, or without one where exactly one reading is possible.

It is decided once for the whole file. A reading without a header is checked against what is seen of the videos; what
stays in doubt ends in one sentence with the header that would settle it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.io.names import visible
from data_modules.sets.annotations.column_names import Interpretation, ListColumns
from data_modules.sets.annotations.text_table import (
    LAST_BLANK,
    TextRow,
    TextTable,
    tables,
)
from data_modules.sets.annotations.video_lookup import VideoLookup, sample
from data_modules.video.suffixes import is_video

_COMPARED = 5  # videos whose frames are counted
_TRIED = 100  # videos that are looked for to find these
_NO_UTF_8 = re.compile("[\ud800-\udfff]")
COUNT = re.compile("[1-9][0-9]*")  # of frames


class ListLine(NamedTuple):
    """One line of a list: its number from 1, the video and what is said of it."""

    line: int
    path: str
    value: str


def read_list(path: Path, form: ListColumns, seen: VideoLookup) -> list[ListLine]:
    """The lines below the header, or all lines where there is none.

    Args:
        path: the file; cells are parted by tab, semicolon, comma or blanks.
        form: which columns it may have.
        seen: what is known of the videos.

    Raises:
        ValueError: an empty list, a column that is not known, a line with too many or too few cells, an empty cell, or
            no header where several readings are possible or none is.
    """
    reading = ListReader(path, form, seen).reading()
    places = zip(
        reading.table.rows,
        reading.column("path"),
        reading.column(form.value),
        strict=True,
    )
    return [ListLine(row.line, name, value) for row, name, value in places]


class ListReader:
    """Finds the one reading of a list; arguments as in :func:`read_list`."""

    def __init__(self, path: Path, form: ListColumns, seen: VideoLookup) -> None:
        self._path, self._form, self._seen = path, form, seen

    def reading(self) -> Interpretation:
        """The lines that name videos, without the header; errors as in :func:`read_list`."""
        found, wrong = tables(self._path, blanks=self._form.blanks)
        self._require_no_first_comment(found)
        headed = [table for table in found if self._form.is_header(table.rows[0])]
        reading = self._headed(headed) if headed else self._unheaded(found, wrong)
        self._require_text(reading)
        self._require_filled(reading)
        self._require_one_header(reading)
        self._require_no_separator(reading)
        self._require_slashes(reading)
        self._require_no_comment(reading)
        return reading

    # --- with a header

    def _headed(self, found: Sequence[TextTable]) -> Interpretation:
        first = found[0]
        self._form.require_known(self._path, first)
        if len(first.rows) == 1:
            raise ValueError(
                f"{self._path}: the list is empty below its header, "
                f"{first.shown(first.rows[0])}"
            )
        readings = [self._below_header(table) for table in found if table.is_even]
        fitting = [
            reading
            for reading in readings
            if reading.table.separator != LAST_BLANK or self._is_sure(reading)
        ]
        if not fitting:
            first.require_width(self._path, len(first.rows[0].cells))
        self._require_counts(fitting[0], "")
        return fitting[0]

    def _below_header(self, table: TextTable) -> Interpretation:
        return Interpretation(
            table._replace(rows=table.rows[1:]), self._form.roles(table.rows[0])
        )

    # --- without a header

    def _unheaded(self, found: Sequence[TextTable], wrong: str) -> Interpretation:
        reading = self._sure(self._fitting(found))
        if not reading and wrong:
            raise ValueError(wrong)
        reading = reading or self._only(found)
        self._require_no_header(reading)
        self._require_order(reading)
        self._require_counts(
            reading,
            f"three columns without a header are {','.join(self._form.names)}, and ",
        )
        self._require_counted(reading)
        return reading

    def _fitting(self, found: Sequence[TextTable]) -> list[Interpretation]:
        """All readings by the number of columns alone."""
        fitting = list[Interpretation]()
        for table in _different([table for table in found if table.is_even]):
            width = len(table.rows[0].cells)
            fitting += [
                Interpretation(table, order)
                for order in self._form.orders
                if len(order) == width
            ]
        return fitting

    def _sure(self, readings: Sequence[Interpretation]) -> Interpretation | None:
        """The only reading whose paths are videos, None if there is none."""
        plain = [
            reading for reading in readings if reading.table.separator != LAST_BLANK
        ]
        last_blank = [
            reading for reading in readings if reading.table.separator == LAST_BLANK
        ]
        sure = _other_paths([reading for reading in plain if self._is_sure(reading)])
        sure = sure or [reading for reading in last_blank if self._is_sure(reading)]
        if len(sure) > 1:
            sure = [
                reading
                for reading in sure
                if self._seen.are_there(reading.column("path"))
            ] or sure
        sure = sure or [
            reading
            for reading in plain
            if self._seen.any_is_there(reading.body("path"))
        ]
        if len(sure) > 1:
            raise self._doubtful([reading.table for reading in sure])
        return sure[0] if sure else None

    def _only(self, found: Sequence[TextTable]) -> Interpretation:
        """The only reading that the number of columns allows, where no path is a video."""
        even = _different(
            [
                table
                for table in found
                if table.is_even and table.separator != LAST_BLANK
            ]
        )
        if len(even) > 1:
            raise self._doubtful(even)
        readings = self._fitting(even)
        if not readings:
            raise self._misfit(even[0] if even else found[0])
        return readings[0]

    def _is_sure(self, reading: Interpretation) -> bool:
        """Whether the paths are videos, by suffix or by what is there; of the first line only its last blank asks."""
        if reading.table.separator != LAST_BLANK:
            return self._seen.are_videos(reading.body("path"))
        names = reading.column("path")
        return not any(map(self._may_be_two, names)) and self._seen.are_videos(names)

    def _may_be_two(self, name: str) -> bool:
        """Whether a blank in the path may part a video from something else, as in "a.mp4 b.mp4"."""
        return any(map(is_video, name.split()[:-1])) and not self._seen.is_there(name)

    def _require_no_header(self, reading: Interpretation) -> None:
        """A first line in other words than those of a header would be a class, and a video that is missing."""
        name, *names = reading.column("path")
        value, *values = reading.column(self._form.value)
        if self._seen.is_video(name):
            return
        named = any(self._form.roles(reading.table.rows[0]))
        unlike_numbers = all(map(str.isdecimal, values)) and not value.isdecimal()
        unlike_videos = value not in values and self._seen.are_videos(names)
        if named or (names and (unlike_numbers or unlike_videos)):
            raise self._wrong(
                reading.table, f"looks like a header, because {name!r} is no video"
            )

    def _require_order(self, reading: Interpretation) -> None:
        """Where the first column holds no video and another one does, the columns are in another order."""
        names = sample(reading.body("path"), _TRIED)
        if any(map(self._seen.is_video, names)):
            return
        for number in range(1, len(reading.roles)):
            cells = reading.table.column(number)
            if self._seen.are_videos(cells[1:] or cells):
                order = f"{self._form.value},{self._form.path}"
                raise self._wrong(
                    reading.table,
                    f"the videos are in column {number + 1}, not in column 1",
                    order,
                )

    def _require_counted(self, reading: Interpretation) -> None:
        """Without a header, three columns may be a path and two labels: the frames of a few videos decide."""
        if "num_frames" not in reading.roles:
            return
        compared, table = 0, reading.table
        places = zip(
            table.rows,
            reading.column("path"),
            reading.column("num_frames"),
            strict=True,
        )
        for row, name, count in sample(list(places), _TRIED):
            frames = self._seen.num_frames(name)
            if frames not in (None, int(count)):
                reason = (
                    f"without a header {count} is a number of frames, and {name} has "
                    f"{frames}"
                )
                raise self._wrong(
                    table, f"{reason}; several labels of a video are not read", row=row
                )
            compared += frames is not None
            if compared == _COMPARED:
                return
        if not compared:
            raise self._wrong(
                table,
                "no video is there to see whether the second column is its number "
                "of frames",
            )

    # --- both

    def _require_counts(self, reading: Interpretation, rule: str) -> None:
        if "num_frames" not in reading.roles:
            return
        for row, count in zip(
            reading.table.rows, reading.column("num_frames"), strict=True
        ):
            if not COUNT.fullmatch(count):
                raise self._wrong(
                    reading.table, f"{rule}{count!r} is no number of frames", row=row
                )

    def _require_text(self, reading: Interpretation) -> None:
        """Bytes that are no UTF-8 can only be those of the name of a file."""
        for row in reading.table.rows:
            for role, cell in zip(reading.roles, row.cells, strict=True):
                if _NO_UTF_8.search(cell) and not (
                    role == "path" and self._seen.is_there(cell)
                ):
                    place = f"{self._path}, line {row.line}"
                    raise ValueError(
                        f"{place}: is not UTF-8 text: '{visible(cell)[:60]}'; "
                        "save the file as UTF-8"
                    )

    def _require_filled(self, reading: Interpretation) -> None:
        for row in reading.table.rows:
            for role, cell in zip(reading.roles, row.cells, strict=True):
                if not cell.strip():
                    name = self._form.path if role == "path" else role
                    raise self._wrong(reading.table, f"the {name} is empty", row=row)

    def _require_one_header(self, reading: Interpretation) -> None:
        for row, name in zip(reading.table.rows, reading.column("path"), strict=True):
            if self._form.role(name) and self._form.is_header(row):
                raise self._wrong(
                    reading.table,
                    "is a header among the lines: were two lists joined?",
                    row=row,
                )

    def _require_no_separator(self, reading: Interpretation) -> None:
        """ValueError for "a.mp4 run," in each line, where the comma would become a part of each class."""
        last = {cells[-1][-1] for _, cells in reading.table.rows}
        if last <= {","} or last <= {";"}:
            raise self._wrong(
                reading.table,
                f"each line ends with {last.pop()!r}, which is no part of the "
                f"{self._form.value}",
            )

    def _require_slashes(self, reading: Interpretation) -> None:
        for row, name in zip(reading.table.rows, reading.column("path"), strict=True):
            if "\\" in name and not self._seen.is_there(name):
                raise ValueError(
                    f"{self._path}, line {row.line}: there is no video {name}; "
                    "write / in place of \\ in all paths"
                )

    def _require_no_comment(self, reading: Interpretation) -> None:
        for row, name in zip(reading.table.rows, reading.column("path"), strict=True):
            if name.startswith("#") and not self._seen.is_there(name):
                raise self._comment(reading.table, row, name)

    def _require_no_first_comment(self, found: Sequence[TextTable]) -> None:
        """It seems to say how many columns the other lines must have."""
        names = [table.rows[0].cells[0] for table in found]
        is_even = any(table.is_even for table in found)
        if (
            names[0].startswith("#")
            and not is_even
            and not any(map(self._seen.is_video, names))
        ):
            raise self._comment(found[0], found[0].rows[0], names[0])

    def _comment(self, table: TextTable, row: TextRow, name: str) -> ValueError:
        line = f"{self._path}, line {row.line} {table.shown(row)}"
        return ValueError(
            f"{line}: there is no video {name!r}; if this is a comment, remove it"
        )

    # --- what is wrong

    def _wrong(
        self,
        table: TextTable,
        reason: str,
        header: str = "",
        row: TextRow | None = None,
    ) -> ValueError:
        row = row or table.rows[0]
        return ValueError(
            f"{self._path}, line {row.line} {table.shown(row)}: {reason}; "
            f"{self._valid(header)}"
        )

    def _valid(self, header: str = "") -> str:
        line = f"{self._form.path},{self._form.value}"
        header = header or ",".join(self._form.names)
        return (
            f"valid are {line} in each line, or a first line that names the columns, "
            f"such as {header}"
        )

    def _doubtful(self, found: Sequence[TextTable]) -> ValueError:
        line = found[0].rows[0].line
        ways = " or ".join(" | ".join(table.rows[0].cells) for table in found)
        return ValueError(
            f"{self._path}, line {line}: can be read as {ways}, and no video "
            f"tells which; {self._valid()}"
        )

    def _misfit(self, table: TextTable) -> ValueError:
        width, roles = len(table.rows[0].cells), self._form.roles(table.rows[0])
        if any(roles):
            absent = [
                name
                for name in (self._form.path, self._form.value)
                if self._form.role(name) not in roles
            ]
            return self._wrong(table, f"is a header without the column {absent[0]}")
        try:
            table.require_width(self._path, width)
        except ValueError as error:
            return error
        way_out = (
            "; a cell that holds a blank is put in double quotes"
            if table.separator == " "
            else ""
        )
        return self._wrong(
            table, f"has {width} columns and no header that names them{way_out}"
        )


def _other_paths(found: Sequence[Interpretation]) -> list[Interpretation]:
    """Without those that name the same paths as an earlier one, as blanks do in "a.mp4 ,run"."""
    paths = [reading.column("path") for reading in found]
    return [
        reading
        for number, reading in enumerate(found)
        if paths[number] not in paths[:number]
    ]


def _different(found: Sequence[TextTable]) -> list[TextTable]:
    """Without those that another separator parts alike, as a tab and blanks do."""
    return [
        table
        for number, table in enumerate(found)
        if all(table.rows != other.rows for other in found[:number])
    ]
