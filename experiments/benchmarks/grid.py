"""A table for people: on the terminal and as markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Grid:
    """One table; the first column holds names, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """With its title as a heading."""
        lines = [
            self.header,
            ["---", *["--:"] * (len(self.header) - 1)],
            *self.rows,
        ]
        return (
            f"## {self.title}\n\n"
            + "\n".join(f"| {' | '.join(line)} |" for line in lines)
            + "\n"
        )

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, title_justify="left")
        for column in self.header:
            first = column == self.header[0]
            table.add_column(
                column, justify="left" if first else "right", no_wrap=first
            )
        for row in self.rows:
            table.add_row(*row)
        return table
