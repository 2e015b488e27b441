"""Which column of a list is which.

A header says so; without one there must be exactly one possible reading. It is decided
once for the whole file. A reading without a header is checked against what is found of
the videos; what stays in doubt ends in one sentence with the header that would settle
it. Three lists, and how each is read::

    path,label       header                  path | label
    a.mp4,run        the suffix of a video   path | label
    a.mp4 24 run     a.mp4 has 24 frames     path | num_frames | label
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.annotations.column_names import Interpretation, ListColumns
from data_modules.sets.annotations.list_checks import LineChecks
from data_modules.sets.annotations.list_errors import ListErrors
from data_modules.sets.annotations.text_table import (
    LAST_BLANK,
    TextTable,
    tables,
)
from data_modules.sets.annotations.video_lookup import VideoLookup, sample
from data_modules.video.suffixes import is_video

_COMPARED = 5  # videos whose frames are counted
_TRIED = 100  # videos that are looked for to find these
COUNT = re.compile("[1-9][0-9]*")  # of frames


class ListLine(NamedTuple):
    """Hold one line of a list: its number from 1, the video and what is said of it."""

    line: int
    path: str
    value: str


def read_list(path: Path, form: ListColumns, seen: VideoLookup) -> list[ListLine]:
    """Return the lines below the header, or all lines where there is none.

    Args:
        path: the file; cells are parted by tab, semicolon, comma or blanks.
        form: which columns it may have.
        seen: what is known of the videos.

    Raises:
        ValueError: an empty list, a column that is not known, a line with too many or
            too few cells, an empty cell, or no header where several readings are
            possible or none is.
    """
    reading = ListReader(path, form, seen).reading()
    names = reading.column("path")
    values = reading.column(form.value)
    lines = zip(reading.table.rows, names, values, strict=True)
    return [ListLine(row.line, name, value) for row, name, value in lines]


class ListReader:
    """Find the one reading of a list; arguments as of :func:`read_list`."""

    def __init__(self, path: Path, form: ListColumns, seen: VideoLookup) -> None:
        self._path = path
        self._form = form
        self._seen = seen
        self._errors = ListErrors(path, form)

    def reading(self) -> Interpretation:
        """Return the lines that name videos, without the header.

        Raises:
            ValueError: as of :func:`read_list`.
        """
        found, wrong = tables(self._path, blanks=self._form.blanks)
        self._require_no_first_comment(found)
        headed = [table for table in found if self._form.is_header(table.rows[0])]
        reading = self._headed(headed) if headed else self._unheaded(found, wrong)
        LineChecks(reading, self._errors, self._seen).require_all()
        return reading

    # --- before the columns are known

    def _require_no_first_comment(self, found: Sequence[TextTable]) -> None:
        """Refuse a comment in the first line of a list whose lines differ in columns.

        The other errors would say that all lines need as many columns as it has.
        """
        names = [table.rows[0].cells[0] for table in found]
        if not names[0].startswith("#") or _even(found):
            return
        if not any(map(self._seen.is_video, names)):
            raise self._errors.comment(found[0], found[0].rows[0], names[0])

    # --- with a header

    def _headed(self, found: Sequence[TextTable]) -> Interpretation:
        first = found[0]
        self._form.require_known(self._path, first)
        if len(first.rows) == 1:
            raise ValueError(
                f"{self._path}: the list is empty below its header, "
                f"{first.shown(first.rows[0])}"
            )
        fitting = list[Interpretation]()
        for table in _even(found):
            reading = self._below_header(table)
            # parting at the last blank fits any two columns, so that it needs proof
            if table.separator != LAST_BLANK or self._is_sure(reading):
                fitting.append(reading)
        if not fitting:
            first.require_width(self._path, len(first.rows[0].cells))
        self._require_counts(fitting[0], "")
        return fitting[0]

    def _below_header(self, table: TextTable) -> Interpretation:
        header, *rows = table.rows
        return Interpretation(table._replace(rows=rows), self._form.roles(header))

    # --- without a header

    def _unheaded(self, found: Sequence[TextTable], wrong: str) -> Interpretation:
        reading = self._sure(self._fitting(found))
        if not reading and wrong:
            raise ValueError(wrong)
        reading = reading or self._only(found)
        self._require_no_header(reading)
        self._require_order(reading)
        columns = ",".join(self._form.names)
        rule = f"three columns without a header are {columns}, and "
        self._require_counts(reading, rule)
        self._require_counted(reading)
        return reading

    def _fitting(self, found: Sequence[TextTable]) -> list[Interpretation]:
        """Return all readings by the number of columns alone."""
        fitting = list[Interpretation]()
        for table in _different(_even(found)):
            width = len(table.rows[0].cells)
            for order in self._form.orders:
                if len(order) == width:
                    fitting.append(Interpretation(table, order))
        return fitting

    def _sure(self, readings: Sequence[Interpretation]) -> Interpretation | None:
        """Return the only reading whose paths are videos; None if there is none.

        Raises:
            ValueError: there are several.
        """
        plain = list[Interpretation]()
        last_blank = list[Interpretation]()
        for reading in readings:
            if reading.table.separator == LAST_BLANK:
                last_blank.append(reading)
            else:
                plain.append(reading)
        # the better proof first; each is tried only where those before prove nothing
        sure = _other_paths(list(filter(self._is_sure, plain)))
        if not sure:
            sure = list(filter(self._is_sure, last_blank))
        if len(sure) > 1:
            sure = list(filter(self._are_there, sure)) or sure
        if not sure:
            sure = list(filter(self._any_is_there, plain))
        if len(sure) > 1:
            raise self._errors.doubtful([reading.table for reading in sure])
        return sure[0] if sure else None

    def _are_there(self, reading: Interpretation) -> bool:
        return self._seen.are_there(reading.column("path"))

    def _any_is_there(self, reading: Interpretation) -> bool:
        return self._seen.any_is_there(reading.body("path"))

    def _only(self, found: Sequence[TextTable]) -> Interpretation:
        """Return the only reading that the number of columns allows.

        It serves where no path is a video: all may be missing.

        Raises:
            ValueError: there are several readings, or none.
        """
        plain = [table for table in found if table.separator != LAST_BLANK]
        even = _different(_even(plain))
        if len(even) > 1:
            raise self._errors.doubtful(even)
        readings = self._fitting(even)
        if not readings:
            raise self._errors.misfit(even[0] if even else found[0])
        return readings[0]

    def _is_sure(self, reading: Interpretation) -> bool:
        """Tell whether the paths are videos, by suffix or by what is there.

        The first line may be a header and does not count, unless only its last blank
        parts it.
        """
        if reading.table.separator != LAST_BLANK:
            return self._seen.are_videos(reading.body("path"))
        names = reading.column("path")
        return not any(map(self._may_be_two, names)) and self._seen.are_videos(
            names
        )

    def _may_be_two(self, name: str) -> bool:
        """Tell whether a blank may part a video from something, as in "a.mp4 b.mp4"."""
        return any(map(is_video, name.split()[:-1])) and not self._seen.is_there(
            name
        )

    def _require_no_header(self, reading: Interpretation) -> None:
        """Refuse a first line in other words than those of a header.

        It would be a class, and a video that is missing.
        """
        name, *names = reading.column("path")
        value, *values = reading.column(self._form.value)
        if self._seen.is_video(name):
            return
        named = any(self._form.roles(reading.table.rows[0]))
        unlike_numbers = all(map(str.isdecimal, values)) and not value.isdecimal()
        unlike_videos = value not in values and self._seen.are_videos(names)
        if named or (names and (unlike_numbers or unlike_videos)):
            reason = f"looks like a header, because {name!r} is no video"
            raise self._errors.wrong(reading.table, reason)

    def _require_order(self, reading: Interpretation) -> None:
        """Refuse columns in another order.

        They are where the first column holds no video and another one does.
        """
        names = sample(reading.body("path"), _TRIED)
        if any(map(self._seen.is_video, names)):
            return
        for number in range(1, len(reading.roles)):
            cells = reading.table.column(number)
            if self._seen.are_videos(cells[1:] or cells):
                order = f"{self._form.value},{self._form.path}"
                reason = f"the videos are in column {number + 1}, not in column 1"
                raise self._errors.wrong(reading.table, reason, order)

    def _require_counted(self, reading: Interpretation) -> None:
        """Refuse three columns without a header where they are a path and two labels.

        The frames of a few videos decide.
        """
        if "num_frames" not in reading.roles:
            return
        compared = 0
        table = reading.table
        names = reading.column("path")
        counts = reading.column("num_frames")
        places = list(zip(table.rows, names, counts, strict=True))
        for row, name, count in sample(places, _TRIED):
            frames = self._seen.num_frames(name)
            if frames not in (None, int(count)):
                reason = (
                    f"without a header {count} is a number of frames, and {name} has "
                    f"{frames}; several labels of a video are not read"
                )
                raise self._errors.wrong(table, reason, row=row)
            compared += frames is not None
            if compared == _COMPARED:
                return
        if not compared:
            reason = (
                "no video is there to see whether the second column is its number of "
                "frames"
            )
            raise self._errors.wrong(table, reason)

    def _require_counts(self, reading: Interpretation, rule: str) -> None:
        """Refuse a number of frames that is none; ``rule`` says why it should be."""
        if "num_frames" not in reading.roles:
            return
        counts = reading.column("num_frames")
        for row, count in zip(reading.table.rows, counts, strict=True):
            if not COUNT.fullmatch(count):
                reason = f"{rule}{count!r} is no number of frames"
                raise self._errors.wrong(reading.table, reason, row=row)


def _even(found: Sequence[TextTable]) -> list[TextTable]:
    return [table for table in found if table.is_even]


def _other_paths(found: Sequence[Interpretation]) -> list[Interpretation]:
    """Return the readings without those that name the same paths as an earlier one.

    Blanks do so beside the comma in "a.mp4 ,run".
    """
    kept = list[Interpretation]()
    paths = list[list[str]]()
    for reading in found:
        own = reading.column("path")
        if own not in paths:
            paths.append(own)
            kept.append(reading)
    return kept


def _different(found: Sequence[TextTable]) -> list[TextTable]:
    """Return the tables without those that another separator parts alike.

    A tab and blanks may do so.
    """
    kept = list[TextTable]()
    for table in found:
        if all(table.rows != other.rows for other in kept):
            kept.append(table)
    return kept
