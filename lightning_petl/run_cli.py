"""Lightning's commands, each in a folder of its own; ``fit`` in one that it can go on in."""

import os
from pathlib import Path
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import yaml
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console
from rich.table import Table
from typing_extensions import override

from lightning_petl import strategies
from lightning_petl.callbacks.preemption import Preemption
from lightning_petl.checkpoint import AtomicCheckpointIO
from lightning_petl.run_folder import CONFIG, ResumePoint, RunFolder, changes, leads, new_version
from lightning_petl.run_logger import RunLogger
from lightning_petl.slurm.tasks import check_tasks

_PLACES = ("ckpt_path", "run_folder", "config")  # they say where, not what


class RunCLI(LightningCLI):
    """Where a command writes, and where ``fit`` goes on from.

    Attributes:
        run_folder: of ``fit``.
    """

    run_folder: RunFolder | None = None
    _resumed: ResumePoint | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        finally:
            if self.run_folder is not None:
                self.run_folder.release()

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", type=str, default="default", help="The run writes to runs/<name>/version_<n>.")
        parser.add_argument(
            "--run_folder",
            type=str | None,
            default=None,
            help="Where fit alone writes instead, and goes on from the last whole checkpoint there, if any.",
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Preemption, "preemption")
        # Preemption writes last.ckpt; after a resume a checkpoint takes the place of the one it is the same as
        parser.set_defaults({"checkpoint.save_last": False, "checkpoint.enable_version_counter": False})

    @override
    def _parse_ckpt_path(self) -> None:
        """Keep what the command line says: a checkpoint's hyper-parameters would silently win."""

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        if SLURMEnvironment.detect():
            check_tasks(given["num_nodes"], given["devices"])
        logger = self._logger(Path(given["default_root_dir"] or Path("runs", self._get(self.config_init, "name"))))
        # Lightning's own requeueing saves in the signal handler, which deadlocks
        slurm = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
        defaults = {
            "default_root_dir": logger.log_dir,  # under SLURM the Trainer resumes what it takes for a checkpoint there
            "logger": logger if given["logger"] in (None, True) else given["logger"],
            "plugins": given["plugins"] or [AtomicCheckpointIO(), *slurm],
            "strategy": strategies.chosen(given["strategy"]),
        }
        return super().instantiate_trainer(**defaults, **kwargs)

    def _logger(self, root: Path) -> RunLogger:
        """That of a folder of its own."""
        if self.subcommand != "fit":  # a run's own configuration names its folder, which is not for the others
            return RunLogger(new_version(root) if leads() else root / "version_of_rank_zero")
        folder = self._get(self.config_init, "run_folder")
        if folder is None and not leads():
            return RunLogger(root / "version_of_rank_zero")  # never made: Lightning asks rank zero
        self.run_folder = RunFolder.new(root) if folder is None else RunFolder(Path(folder))
        self._resumed = self.run_folder.begin()
        return RunLogger(self.run_folder.path, run=self.run_folder.id, row=self._resumed and self._resumed.row)

    @override
    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        options = super()._prepare_subcommand_kwargs(subcommand)
        if self._resumed is not None:
            options["ckpt_path"] = str(self._resumed.path)
        if subcommand == "fit" and options["ckpt_path"] and leads():
            self._tell_changes(Path(os.path.abspath(options["ckpt_path"])).parent.parent / CONFIG)
        return options

    def _tell_changes(self, before: Path) -> None:
        if not before.is_file():
            return
        text = self._parser(self.subcommand).dump(self.config[cast(str, self.subcommand)], skip_none=False)
        table = Table("changed", "before", "now", title=f"not as in {before}")
        for key, *values in changes(yaml.safe_load(before.read_text()), yaml.safe_load(text)):
            if key not in _PLACES:
                table.add_row(key, *map(str, values))
        if table.row_count:
            Console(soft_wrap=True).print(table)

    def after_fit(self) -> None:
        """Called by Lightning."""
        if self.run_folder is not None:
            self.run_folder.finished()
