"""What each member of a bank leaves behind, as if it had been a run of its own, and which of them was best."""

import math
import shutil
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from rich.table import Table
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import cell, to_csv
from lightning_petl.artifacts.format import write
from lightning_petl.callbacks.ema import averaged
from lightning_petl.callbacks.outputs.artifact_writer import BEST, LAST, protocol_of
from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.runs.folder import run_folder
from lightning_petl.runs.logger import shown_as
from lightning_petl.tasks.bank.member import settings
from lightning_petl.tasks.bank.task import Bank, BankLosses

FOLDER, RANKING = "members", "ranking.csv"
MONITOR = "val/top1"


class MemberRuns(Callback):
    """``<run folder>/members/<name>``: TensorBoard events, ``artifact``, the best by val/top1, and ``artifact_last``.

    Both folders are artifacts of plain classifiers, for ``predict --artifact``; where nothing was validated both hold
    the last step. When training ends it prints the members, best first, with the hyper-parameters in which they differ,
    and writes them to ``ranking.csv``. With any other model it does nothing.
    """

    def __init__(self) -> None:
        self._best: dict[str, dict[str, float]] = {}
        self._runs: dict[str, TensorBoardLogger] = {}
        self._folder = ""
        self._logged = -1

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Bank):
            return
        root, self._logged = run_folder(trainer) / FOLDER, -1
        if trainer.is_global_zero:
            for name in self._best:
                _copy(Path(self._folder, name, BEST), root / name / BEST)
            if trainer.loggers:
                self._runs = {
                    name: TensorBoardLogger(root.parent, FOLDER, name)
                    for name in pl_module.members
                }
        self._folder = str(root)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step, every = trainer.global_step, cast(int, vars(trainer)["log_every_n_steps"])
        if not self._runs or every == 0 or step % every or step == self._logged:
            return
        bank, self._logged = cast(Bank, pl_module), step
        groups = trainer.optimizers[0].param_groups
        for name, loss in zip(
            bank.members, cast(BankLosses, outputs)["losses"].tolist(), strict=True
        ):
            if name not in bank.stopped:
                rates = {
                    shown_as(f"lr/{g['owner']}"): g["lr"]
                    for g in groups
                    if g["name"].startswith(f"{name}/")
                }
                self._runs[name].log_metrics({"train/loss": loss, **rates}, step)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Bank) or trainer.sanity_checking:
            return
        fitting = trainer.state.fn == TrainerFn.FITTING
        for name in pl_module.members:
            found = _of(trainer, name, "val/")
            if name in self._runs:
                self._runs[name].log_metrics(found, trainer.global_step)
            better = found.get(MONITOR, -math.inf) > self._best.get(name, {}).get(
                MONITOR, -math.inf
            )
            if fitting and better and name not in pl_module.silent_members:
                self._best[name] = {
                    MONITOR: found[MONITOR],
                    "step": trainer.global_step,
                }
                self._write(trainer, pl_module, name, BEST)
        if not fitting:
            self._rank(trainer, pl_module, _scores(trainer, pl_module, "val/"), MONITOR)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, Bank):
            self._rank(
                trainer, pl_module, _scores(trainer, pl_module, "test/"), "test/top1"
            )

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Bank):
            return
        for name, member in pl_module.members.items():
            for place in [LAST] if name in self._best else [LAST, BEST]:
                self._write(trainer, pl_module, name, place)
            if name in self._runs:
                score = self._best.get(name, {}).get(MONITOR, math.nan)
                self._runs[name].log_hyperparams(settings(member), {"best/top1": score})
        self._close()
        self._rank(trainer, pl_module, self._best, MONITOR)

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._close()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "folder": self._folder}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._folder = state_dict["best"], state_dict["folder"]

    def _close(self) -> None:
        for run in self._runs.values():
            run.finalize("success")
        self._runs = {}

    def _write(self, trainer: Trainer, bank: Bank, name: str, place: str) -> None:
        with averaged(trainer, bank):
            write(
                Path(self._folder, name, place),
                bank.trained(name),
                protocol_of(trainer),
            )

    def _rank(
        self,
        trainer: Trainer,
        bank: Bank,
        found: dict[str, dict[str, float]],
        monitor: str,
    ) -> None:
        if not trainer.is_global_zero:
            return
        rows = ranking(bank, found, monitor)
        show(_table(rows))
        write_whole(
            run_folder(trainer) / RANKING,
            to_csv([rows[0], *(row.values() for row in rows)]),
        )


def ranking(
    bank: Bank, found: dict[str, dict[str, float]], monitor: str
) -> list[dict[str, Any]]:
    """A row a member, best first: its score, the step of it, the hyper-parameters in which members differ.

    Args:
        bank: whose members.
        found: metrics by member; one that has none comes last.
        monitor: the metric that ranks.
    """
    table = {name: settings(member) for name, member in bank.members.items()}
    paths = list(dict.fromkeys(path for values in table.values() for path in values))
    differing = [
        path
        for path in paths
        if len({values[path] for values in table.values() if path in values}) > 1
    ]
    rows = [
        {
            "member": name,
            monitor: found.get(name, {}).get(monitor),
            "step": found.get(name, {}).get("step"),
        }
        | {path: values.get(path) for path in differing}
        | ({"stopped": bank.stopped.get(name)} if bank.stopped else {})
        | (
            {"outputs": "no numbers" if name in bank.silent_members else None}
            if bank.silent_members
            else {}
        )
        for name, values in table.items()
    ]
    return sorted(
        rows, key=lambda row: math.inf if row[monitor] is None else -row[monitor]
    )


def _scores(trainer: Trainer, bank: Bank, prefix: str) -> dict[str, dict[str, float]]:
    """The metrics by member; none of those that answered nothing, so that they come last."""
    return {
        name: _of(trainer, name, prefix)
        for name in bank.members
        if name not in bank.silent_members
    }


def _of(trainer: Trainer, name: str, prefix: str) -> dict[str, float]:
    """The metrics of a member, without its name."""
    found = trainer.callback_metrics.items()
    return {
        key.removeprefix(f"{name}/"): float(v)
        for key, v in found
        if key.startswith(f"{name}/{prefix}")
    }


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and source != target:
        shutil.copytree(source, target, dirs_exist_ok=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(*(key.removeprefix("optim.") for key in rows[0]))
    for row in rows:
        values = (
            "" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v)
            for v in row.values()
        )
        table.add_row(*map(cell, values))
    return table
