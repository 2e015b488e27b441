"""Count who trains what."""

from typing import NamedTuple

from rich.table import Table

from data_modules.io.names import cell
from lightning_petl.tasks.task import Task


class OwnedParameters(NamedTuple):
    """Count what one owner trains.

    Attributes:
        owner: an adapter, or the head.
        tensors: parameters as torch has them, matrices and vectors.
        parameters: their elements.
        unreachable: elements without a path to the read-out, which stay as they are.
    """

    owner: str
    tensors: int
    parameters: int
    unreachable: int


def parameters_by_owner(model: Task) -> list[OwnedParameters]:
    """Return one row an owner, in the order of the stack, the head last."""
    sizes: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            sizes[name] = parameter.numel()
    lost = model.unreachable
    rows: list[OwnedParameters] = []
    for owner in dict.fromkeys(model.owners.values()):
        names = [name for name, who in model.owners.items() if who == owner]
        total = sum(sizes[name] for name in names)
        dead = sum(sizes[name] for name in names if name in lost)
        rows.append(OwnedParameters(owner, len(names), total, dead))
    return rows


def ownership_table(rows: list[OwnedParameters], title: str) -> Table:
    """Return the rows as a table for the console."""
    table = Table(*OwnedParameters._fields, title=title)
    for row in rows:
        table.add_row(cell(row.owner), *(f"{value:,}" for value in row[1:]))
    return table
