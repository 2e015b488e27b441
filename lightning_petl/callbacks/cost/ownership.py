"""Who trains what: a table in the console and in TensorBoard when training starts."""

from typing import NamedTuple, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from data_modules.io.names import cell
from lightning_petl.tasks.task import Task


class Share(NamedTuple):
    """What one owner trains; ``unreachable`` parameters have no path to the read-out and stay as they are."""

    owner: str
    tensors: int
    parameters: int
    unreachable: int


def shares(model: Task) -> list[Share]:
    """One row an owner, in the order of the stack, the head last."""
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    lost = model.unreachable
    rows: list[Share] = []
    for owner in dict.fromkeys(model.owners.values()):
        names = [name for name, who in model.owners.items() if who == owner]
        dead = sum(sizes[name] for name in names if name in lost)
        rows.append(Share(owner, len(names), sum(sizes[name] for name in names), dead))
    return rows


class Ownership(Callback):
    """Prints the table of :func:`shares` at the start of fit and writes it to TensorBoard as text."""

    @override
    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = cast(Task, pl_module)
        rows = shares(model)
        total = sum(p.numel() for p in model.parameters())
        Console().print(_table(rows, total))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("trainable parameters", _markdown(rows), 0)


def _table(rows: list[Share], total: int) -> Table:
    trained = sum(row.parameters for row in rows)
    title = f"{trained:,} of {total:,} parameters train ({trained / total:.1%})"
    table = Table(*Share._fields, title=title)
    for row in rows:
        table.add_row(cell(row.owner), *(f"{value:,}" for value in row[1:]))
    return table


def _markdown(rows: list[Share]) -> str:
    lines = [" | ".join(Share._fields), "---|---:|---:|---:"]
    return "\n".join(
        [
            *lines,
            *(
                f"{row.owner} | {row.tensors:,} | {row.parameters:,} | {row.unreachable:,}"
                for row in rows
            ),
        ]
    )
