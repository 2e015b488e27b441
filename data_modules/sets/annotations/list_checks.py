"""What no line of a list may hold, however its columns are read."""

import re
from collections.abc import Iterator

from data_modules.io.names import visible
from data_modules.sets.annotations.column_names import Interpretation
from data_modules.sets.annotations.list_errors import ListErrors
from data_modules.sets.annotations.text_table import TextRow
from data_modules.sets.annotations.video_lookup import VideoLookup

_NO_UTF_8 = re.compile(
    "[\ud800-\udfff]"
)  # bytes that are none, as read_text keeps them


class LineChecks:
    """Refuse lines that a list cannot mean.

    Args:
        reading: the lines and their columns.
        errors: of the list.
        seen: what is known of the videos.
    """

    def __init__(
        self, reading: Interpretation, errors: ListErrors, seen: VideoLookup
    ) -> None:
        self._reading = reading
        self._errors = errors
        self._seen = seen

    def require_all(self) -> None:
        """Raise ValueError for the first check that fails.

        The plainest mistakes come first: a sentence on an empty cell helps no one whose
        file has another encoding.
        """
        self._require_text()
        self._require_filled()
        self._require_one_header()
        self._require_no_separator()
        self._require_slashes()
        self._require_no_comment()

    def _require_text(self) -> None:
        """Refuse bytes that are no UTF-8, unless a file has them in its name."""
        for row, role, cell in _cells(self._reading):
            if not _NO_UTF_8.search(cell):
                continue
            if role != "path" or not self._seen.is_there(cell):
                raise ValueError(
                    f"{self._errors.path}, line {row.line}: is not UTF-8 text: "
                    f"'{visible(cell)[:60]}'; save the file as UTF-8"
                )

    def _require_filled(self) -> None:
        """Refuse an empty cell."""
        for row, role, cell in _cells(self._reading):
            if not cell.strip():
                name = self._errors.form.path if role == "path" else role
                raise self._errors.wrong(
                    self._reading.table, f"the {name} is empty", row=row
                )

    def _require_one_header(self) -> None:
        """Refuse a header among the lines."""
        for row, name in _paths(self._reading):
            # the cheap question first: there may be 250,000 lines
            if self._errors.form.role(name) and self._errors.form.is_header(row):
                reason = "is a header among the lines: were two lists joined?"
                raise self._errors.wrong(self._reading.table, reason, row=row)

    def _require_no_separator(self) -> None:
        """Refuse "a.mp4 run," in each line: the comma would be a part of each class."""
        last = {cells[-1][-1] for _, cells in self._reading.table.rows}
        if last <= {","} or last <= {";"}:
            reason = (
                f"each line ends with {last.pop()!r}, which is no part of the "
                f"{self._errors.form.value}"
            )
            raise self._errors.wrong(self._reading.table, reason)

    def _require_slashes(self) -> None:
        """Refuse paths of Windows."""
        for row, name in _paths(self._reading):
            if "\\" in name and not self._seen.is_there(name):
                raise ValueError(
                    f"{self._errors.path}, line {row.line}: there is no video "
                    f"{name}; write / "
                    "in place of \\ in all paths"
                )

    def _require_no_comment(self) -> None:
        """Refuse a line that begins with # though no video does."""
        for row, name in _paths(self._reading):
            if name.startswith("#") and not self._seen.is_there(name):
                raise self._errors.comment(self._reading.table, row, name)


def _cells(reading: Interpretation) -> Iterator[tuple[TextRow, str, str]]:
    """Yield row, role and text of each cell."""
    for row in reading.table.rows:
        for role, cell in zip(reading.roles, row.cells, strict=True):
            yield row, role, cell


def _paths(reading: Interpretation) -> Iterator[tuple[TextRow, str]]:
    """Yield each row and its path."""
    return zip(reading.table.rows, reading.column("path"), strict=True)
