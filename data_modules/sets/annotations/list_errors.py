"""What is said of a list that cannot be read: the line, the reason, and a way out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.annotations.column_names import ListColumns
from data_modules.sets.annotations.text_table import TextRow, TextTable


class ListErrors(NamedTuple):
    """Build the errors of one list.

    Attributes:
        path: the file.
        form: which columns it may have.
    """

    path: Path
    form: ListColumns

    def wrong(
        self,
        table: TextTable,
        reason: str,
        header: str = "",
        row: TextRow | None = None,
    ) -> ValueError:
        """Return an error on a line, by default the first.

        It ends with the headers that are valid, or with ``header``.
        """
        row = row or table.rows[0]
        return ValueError(
            f"{self.path}, line {row.line} {table.shown(row)}: {reason}; "
            f"{self._valid(header)}"
        )

    def _valid(self, header: str = "") -> str:
        line = f"{self.form.path},{self.form.value}"
        header = header or ",".join(self.form.names)
        return (
            f"valid are {line} in each line, or a first line that names the columns, "
            f"such as {header}"
        )

    def doubtful(self, found: Sequence[TextTable]) -> ValueError:
        """Return an error on a list that can be read in several ways."""
        line = found[0].rows[0].line
        ways = " or ".join(" | ".join(table.rows[0].cells) for table in found)
        return ValueError(
            f"{self.path}, line {line}: can be read as {ways}, and no video tells "
            f"which; {self._valid()}"
        )

    def misfit(self, table: TextTable) -> ValueError:
        """Return an error on lines that have too few or too many columns."""
        first = table.rows[0]
        roles = self.form.roles(first)
        if any(roles):
            needed = (self.form.path, self.form.value)
            absent = [name for name in needed if self.form.role(name) not in roles]
            return self.wrong(table, f"is a header without the column {absent[0]}")
        width = len(first.cells)
        try:
            table.require_width(self.path, width)
        except ValueError as error:
            return error
        reason = f"has {width} columns and no header that names them"
        if table.separator == " ":
            reason += "; a cell that holds a blank is put in double quotes"
        return self.wrong(table, reason)

    def comment(self, table: TextTable, row: TextRow, name: str) -> ValueError:
        """Return an error on a line that begins with # though no video does."""
        line = f"{self.path}, line {row.line} {table.shown(row)}"
        return ValueError(
            f"{line}: there is no video {name!r}; if this is a comment, remove it"
        )
