"""What a list says of each video, and by which names its columns go."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from data_modules.sets.annotations.text_table import TextRow, TextTable

_NAMES = {
    "path": (
        "path file filename file_name filepath file_path video video_path video_file "
        "video_name clip clip_path"
    ),
    "label": "label class class_name class_id category action target label_id label_name",
    "caption": "caption sentence text description",
    "num_frames": "num_frames n_frames frames frame_count total_frames",
}

_LONGEST = max(len(name) for names in _NAMES.values() for name in names.split())


class ListColumns(NamedTuple):
    """The columns of a list.

    Attributes:
        value: ``label`` or ``caption``; it follows the path where there is no header.
        path: how the documents call the column of the path.
        counted: whether there may also be the column num_frames, without a header between the two.
        blanks: whether blanks may part the columns.
    """

    value: str
    path: str = "path"
    counted: bool = False
    blanks: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns, as the documents call them, in the order without a header."""
        return (self.path, *(["num_frames"] if self.counted else []), self.value)

    @property
    def orders(self) -> list[tuple[str, ...]]:
        """The columns that a line without a header may have."""
        plain = ("path", self.value)
        return [plain, ("path", "num_frames", self.value)] if self.counted else [plain]

    def role(self, cell: str) -> str:
        """``path``, ``num_frames`` or the value for a cell that names this column; empty for any other."""
        if len(cell) > _LONGEST:
            return ""
        name = re.sub("[ -]+", "_", cell.lower())
        return next(
            (role for role in self.orders[-1] if name in _NAMES[role].split()), ""
        )

    def roles(self, row: TextRow) -> tuple[str, ...]:
        """The role of each cell of a header."""
        return tuple(map(self.role, row.cells))

    def is_header(self, row: TextRow) -> bool:
        """Whether a line names the columns that every list has."""
        return {"path", self.value} <= set(self.roles(row))

    def require_known(self, path: Path, table: TextTable) -> None:
        """ValueError for a header with a column that has no meaning, or with two of the same meaning."""
        row, roles = table.rows[0], self.roles(table.rows[0])
        place = f"{path}, line {row.line}: the header {table.shown(row)}"
        unknown = [
            cell or "one without a name"
            for cell, role in zip(row.cells, roles, strict=True)
            if not role
        ]
        if unknown:
            raise ValueError(
                f"{place} has columns that are not known: {', '.join(unknown)}; "
                "nothing would be done with them, so "
                f"remove them. Known are {', '.join(self.names)}"
            )
        role, count = Counter(roles).most_common(1)[0]
        if count > 1:
            names = " and ".join(
                cell
                for cell, found in zip(row.cells, roles, strict=True)
                if found == role
            )
            raise ValueError(
                f"{place} names the {role} {count} times, {names}; keep one of "
                "these columns"
            )


class Interpretation(NamedTuple):
    """One way to read a list: how it is parted, and the role of each column."""

    table: TextTable
    roles: tuple[str, ...]

    def column(self, role: str) -> list[str]:
        """The cells of the column with a role."""
        return self.table.column(self.roles.index(role))

    def body(self, role: str) -> list[str]:
        """The cells of the column below the first line, which may be a header; the cell of a single line."""
        cells = self.column(role)
        return cells[1:] or cells
