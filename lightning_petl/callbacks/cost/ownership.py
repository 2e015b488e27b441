"""Tell who trains what, in the console and in TensorBoard, when training starts."""

from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from typing_extensions import override

from lightning_petl.cost.ownership import (
    OwnedParameters,
    ownership_table,
    parameters_by_owner,
)
from lightning_petl.tasks.task import Task


class Ownership(Callback):
    """Print a row an owner at the start of fit, and write the rows to TensorBoard as text."""

    @override
    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = cast(Task, pl_module)
        rows = parameters_by_owner(model)
        total = sum(p.numel() for p in model.parameters())
        Console().print(ownership_table(rows, _title(rows, total)))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text(
                    "trainable parameters", _markdown(rows), 0
                )


def _title(rows: list[OwnedParameters], total: int) -> str:
    trained = sum(row.parameters for row in rows)
    return f"{trained:,} of {total:,} parameters train ({trained / total:.1%})"


def _markdown(rows: list[OwnedParameters]) -> str:
    lines = [" | ".join(OwnedParameters._fields), "---|---:|---:|---:"]
    for row in rows:
        counts = " | ".join(f"{value:,}" for value in row[1:])
        lines.append(f"{row.owner} | {counts}")
    return "\n".join(lines)
