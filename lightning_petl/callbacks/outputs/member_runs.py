"""Write for each member of a bank what a run of its own would write, and rank the members."""

import math
import shutil
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from rich.table import Table
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import cell, to_csv
from lightning_petl.artifacts.files import read
from lightning_petl.artifacts.format import write
from lightning_petl.callbacks.ema import averaged
from lightning_petl.callbacks.outputs.artifact_writer import BEST, LAST, protocol_of
from lightning_petl.callbacks.outputs.predictions import MEMBERS
from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.runs.folder import run_folder
from lightning_petl.runs.logger import shown_as
from lightning_petl.tasks.bank.member import settings
from lightning_petl.tasks.bank.member_weights import load_member
from lightning_petl.tasks.bank.task import Bank, BankLosses

RANKING = "ranking.csv"
MONITOR = "val/top1"


class MemberRuns(Callback):
    """Write ``<run folder>/members/<name>``: events, ``artifact`` of the best val/top1, ``artifact_last``.

    Both folders are artifacts of plain classifiers. Where nothing was validated, both hold the last step.
    When training ends, the members are printed, best first, with the hyperparameters in which they differ,
    and written to ``ranking.csv``. With a model that is no bank nothing happens.

    Attributes:
        evaluated: the run whose best weights are validated or tested. One checkpoint holds all members, at the update
            that was best for one of them, so each member takes those of its own artifact.
    """

    def __init__(self) -> None:
        self._best: dict[str, dict[str, float]] = {}
        self._runs: dict[str, TensorBoardLogger] = {}
        self._folder = ""
        self._logged = -1
        self.evaluated: Path | None = None

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_best(trainer, pl_module)

    @override
    def on_validation_start(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self._take_best(trainer, pl_module)

    def _take_best(self, trainer: Trainer, bank: LightningModule) -> None:
        """Load into each member its own best weights, where the best ones of a run are evaluated."""
        if self.evaluated is None or not isinstance(bank, Bank):
            return
        for name in bank.members:
            artifact = _best_of(self.evaluated / MEMBERS / name)
            try:
                load_member(bank, name, read(artifact).weights())
            except (OSError, ValueError) as error:
                # as of a member whose loss was no number from the beginning
                rank_zero_warn(
                    f"member {name} is evaluated as the bank's checkpoint has it, for "
                    f"its own best weights cannot be read: {error}"
                )
        if trainer.is_global_zero:
            print(
                f"{len(bank.own_best)} of {len(bank.members)} members "
                "are evaluated with their own best weights"
            )

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Bank):
            return
        root = run_folder(trainer) / MEMBERS
        self._logged = -1
        if trainer.is_global_zero:
            # a resume in another folder needs the best artifacts of before
            for name in self._best:
                _copy(_best_of(Path(self._folder, name)), root / name / BEST)
            if trainer.loggers:
                self._runs = {
                    name: TensorBoardLogger(root.parent, MEMBERS, name)
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
        step = trainer.global_step
        every = cast(int, vars(trainer)["log_every_n_steps"])
        if not self._runs or every == 0 or step % every or step == self._logged:
            return
        self._logged = step
        bank = cast(Bank, pl_module)
        losses = cast(BankLosses, outputs)["losses"].tolist()
        for name, loss in zip(bank.members, losses, strict=True):
            if name not in bank.stopped:
                rates = _rates(trainer, name)
                self._runs[name].log_metrics({"train/loss": loss, **rates}, step)

    @override
    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        if not isinstance(pl_module, Bank) or trainer.sanity_checking:
            return
        fitting = trainer.state.fn == TrainerFn.FITTING
        for name in pl_module.members:
            found = _of(trainer, name, "val/")
            if name in self._runs:
                self._runs[name].log_metrics(found, trainer.global_step)
            best = self._best.get(name, {}).get(MONITOR, -math.inf)
            better = found.get(MONITOR, -math.inf) > best
            if fitting and better and name not in pl_module.silent_members:
                self._best[name] = {
                    MONITOR: found[MONITOR],
                    "step": trainer.global_step,
                }
                self._write(trainer, pl_module, name, BEST)
        if not fitting:
            scores = _scores(trainer, pl_module, "val/")
            self._rank(trainer, pl_module, scores, MONITOR)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, Bank):
            scores = _scores(trainer, pl_module, "test/")
            self._rank(trainer, pl_module, scores, "test/top1")

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Bank):
            return
        for name, member in pl_module.members.items():
            for place in [LAST] if name in self._best else [LAST, BEST]:
                self._write(trainer, pl_module, name, place)
            if name in self._runs:
                score = self._best.get(name, {}).get(MONITOR, math.nan)
                self._runs[name].log_hyperparams(
                    settings(member), {"best/top1": score}
                )
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
        self._best = state_dict["best"]
        self._folder = state_dict["folder"]

    def _close(self) -> None:
        for run in self._runs.values():
            run.finalize("success")
        self._runs = {}

    def _write(self, trainer: Trainer, bank: Bank, name: str, place: str) -> None:
        folder = Path(self._folder, name, place)
        with averaged(trainer, bank):
            write(folder, bank.trained(name), protocol_of(trainer))

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
        values = [list(row.values()) for row in rows]
        write_whole(run_folder(trainer) / RANKING, to_csv([[*rows[0]], *values]))


def ranking(
    bank: Bank, found: dict[str, dict[str, float]], monitor: str
) -> list[dict[str, Any]]:
    """Return a row a member, best first: its score, the step of it, and the hyperparameters that differ.

    Args:
        bank: whose members.
        found: metrics by member; one that has none comes last.
        monitor: the metric that ranks, the larger the better.
    """
    table = {name: settings(member) for name, member in bank.members.items()}
    differing = _differing(table)
    rows: list[dict[str, Any]] = []
    for name, values in table.items():
        score = found.get(name, {})
        row = {
            "member": name,
            monitor: score.get(monitor),
            "step": score.get("step"),
        }
        for path in differing:
            row[path] = values.get(path)
        if bank.stopped:
            row["stopped"] = bank.stopped.get(name)
        if bank.silent_members:
            row["outputs"] = "no numbers" if name in bank.silent_members else None
        rows.append(row)

    def place(row: dict[str, Any]) -> float:
        return math.inf if row[monitor] is None else -row[monitor]

    return sorted(rows, key=place)


def _differing(table: dict[str, dict[str, Any]]) -> list[str]:
    """Return the hyperparameters of which members have different values, in the order of the first member."""
    found: dict[str, set[Any]] = {}
    for values in table.values():
        for path, value in values.items():
            found.setdefault(path, set()).add(value)
    return [path for path, different in found.items() if len(different) > 1]


def _rates(trainer: Trainer, name: str) -> dict[str, float]:
    """Return the learning rates of a member, by the names of the curves."""
    found: dict[str, float] = {}
    for group in trainer.optimizers[0].param_groups:
        if group["name"].startswith(f"{name}/"):
            found[shown_as(f"lr/{group['owner']}")] = group["lr"]
    return found


def _scores(
    trainer: Trainer, bank: Bank, prefix: str
) -> dict[str, dict[str, float]]:
    """Return the metrics by member, without members whose outputs are no numbers: these come last."""
    found: dict[str, dict[str, float]] = {}
    for name in bank.members:
        if name not in bank.silent_members:
            found[name] = _of(trainer, name, prefix)
    return found


def _of(trainer: Trainer, name: str, prefix: str) -> dict[str, float]:
    """Return the metrics of a member, without its name in front."""
    found: dict[str, float] = {}
    for key, value in trainer.callback_metrics.items():
        if key.startswith(f"{name}/{prefix}"):
            found[key.removeprefix(f"{name}/")] = float(value)
    return found


def _best_of(member: Path) -> Path:
    """Return the best artifact of a member, which 0.1.0.dev1 wrote under another spelling."""
    best = member / BEST
    return best if best.exists() else member / "artefact"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and source != target:
        shutil.copytree(source, target, dirs_exist_ok=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(*(key.removeprefix("optim.") for key in rows[0]))
    for row in rows:
        table.add_row(*(cell(_text(value)) for value in row.values()))
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
