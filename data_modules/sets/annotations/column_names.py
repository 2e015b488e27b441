"""What a list says of each video, and by which names its columns go."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.annotations.text_table import TextRow, TextTable

# role of a column -> the names that users and tools give it
_NAMES = {
    "path": (
        "path file filename file_name filepath file_path video video_path video_file "
        "video_name clip clip_path"
    ),
    "label": "label class class_name class_id category action target label_id label_name",
    "caption": "caption sentence text description",
    "num_frames": "num_frames n_frames frames frame_count total_frames",
}

# a longer cell is no name, and may be a caption of ten thousand characters
_LONGEST = max(map(len, " ".join(_NAMES.values()).split()))


class ListColumns(NamedTuple):
    """Hold the columns of a list.

    Attributes:
        value: ``label`` or ``caption``; it follows the path where there is no header.
        path: how the documents call the column of the path.
        counted: whether there may also be the column num_frames, without a header
            between the two.
        blanks: whether blanks may part the columns.
    """

    value: str
    path: str = "path"
    counted: bool = False
    blanks: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Return all columns, as the documents call them, in the order without a header."""
        if self.counted:
            return (self.path, "num_frames", self.value)
        return (self.path, self.value)

    @property
    def orders(self) -> list[tuple[str, ...]]:
        """Return the columns that a line without a header may have."""
        plain = ("path", self.value)
        return (
            [plain, ("path", "num_frames", self.value)] if self.counted else [plain]
        )

    def role(self, cell: str) -> str:
        """Return the role of the column that a cell of a header names.

        It is ``path``, ``num_frames`` or the value; empty for any other text.
        """
        if len(cell) > _LONGEST:
            return ""
        name = re.sub("[ -]+", "_", cell.lower())
        for role in self.orders[-1]:
            if name in _NAMES[role].split():
                return role
        return ""

    def roles(self, row: TextRow) -> tuple[str, ...]:
        """Return the role of each cell of a header."""
        return tuple(map(self.role, row.cells))

    def is_header(self, row: TextRow) -> bool:
        """Tell whether a line names the columns that every list has."""
        return {"path", self.value} <= set(self.roles(row))

    def require_known(self, path: Path, table: TextTable) -> None:
        """Refuse a header with a column that has no meaning, or two of one meaning.

        Raises:
            ValueError: names the columns.
        """
        row = table.rows[0]
        roles = self.roles(row)
        place = f"{path}, line {row.line}: the header {table.shown(row)}"
        unknown = _cells_of(row, roles, "")
        if unknown:
            names = ", ".join(cell or "one without a name" for cell in unknown)
            raise ValueError(
                f"{place} has columns that are not known: {names}; nothing would be "
                f"done with them, so remove them. Known are {', '.join(self.names)}"
            )
        role, count = Counter(roles).most_common(1)[0]
        if count > 1:
            names = " and ".join(_cells_of(row, roles, role))
            raise ValueError(
                f"{place} names the {role} {count} times, {names}; keep one of these "
                "columns"
            )


def _cells_of(row: TextRow, roles: tuple[str, ...], role: str) -> list[str]:
    """Return the cells of a header that have a role."""
    pairs = zip(row.cells, roles, strict=True)
    return [cell for cell, found in pairs if found == role]


class Interpretation(NamedTuple):
    """Hold one way to read a list: how it is parted, and the role of each column."""

    table: TextTable
    roles: tuple[str, ...]

    def column(self, role: str) -> list[str]:
        """Return the cells of the column with a role."""
        return self.table.column(self.roles.index(role))

    def body(self, role: str) -> list[str]:
        """Return the cells below the first line, which may be a header.

        Of a single line it is that line's cell.
        """
        cells = self.column(role)
        return cells[1:] or cells
