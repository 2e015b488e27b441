"""Lightning's commands, each in a folder of its own; ``fit`` in one that it can go on in."""

import os
import sys
from pathlib import Path
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import (
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import Logger
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import visible
from lightning_petl.callbacks.outputs.predictions import SCORES, TopClassTable
from lightning_petl.callbacks.resume.best_checkpoint import BestCheckpoint
from lightning_petl.callbacks.resume.preemption import Preempted, Preemption
from lightning_petl.checkpoints.atomic import AtomicCheckpointIO
from lightning_petl.cli import closing, config_text, evaluation
from lightning_petl.cli.errors import comes_again
from lightning_petl.runs.config_diff import config_differences
from lightning_petl.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    ResumePoint,
    RunFolder,
    content,
    leads,
    new_version,
    run_folder,
)
from lightning_petl.runs.logger import RunLogger
from lightning_petl.strategies.registry import resolve_strategy
from lightning_petl.strategies.slurm_tasks import check_tasks

_PLACES = ("ckpt_path", "run_folder", "config")  # they say where, not what


class ConfigFile(SaveConfigCallback):
    """``config.yaml`` is what the folder's last training had: a start that is refused leaves it as it was."""

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            super().setup(trainer, pl_module, stage)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")

    @override
    def save_config(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        write_whole(
            run_folder(trainer) / CONFIG,
            config_text.dumped(self.parser, self.config).encode(),
        )


class RunCLI(LightningCLI):
    """Where a command writes, and where ``fit`` goes on from.

    Attributes:
        run_folder: of ``fit``.
    """

    run_folder: RunFolder | None = None
    _resumed: ResumePoint | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._flags = {word.partition("=")[0] for word in kwargs["args"]}
        files = {
            "save_config_callback": ConfigFile,
            "save_config_kwargs": {"save_to_log_dir": False},
        }
        try:
            super().__init__(*args, **files, **kwargs)
        except BaseException as error:
            interrupted = isinstance(error, SystemExit) and isinstance(
                error.__context__, KeyboardInterrupt
            )
            if self.run_folder is not None and (interrupted or comes_again(error)):
                self.run_folder.withdraw()
            if (
                self.run_folder is not None
                and leads()
                and (interrupted or isinstance(error, Preempted))
            ):
                print(closing.interrupted(self.run_folder.path), flush=True)
            if interrupted:
                raise KeyboardInterrupt from None  # Lightning makes it an exit code of 1, that of a bug
            raise
        finally:
            if self.run_folder is not None:
                self.run_folder.release()

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--name",
            type=str,
            default="default",
            help="The run writes to runs/<name>/version_<n>.",
        )
        parser.add_argument(
            "--run_folder",
            type=str | None,
            default=None,
            help="Where fit writes instead, and goes on from the last whole checkpoint there, if any. "
            "validate, test and predict take the best checkpoint there.",
        )
        parser.add_argument(
            "--untrained",
            type=bool,
            default=False,
            help="validate, test and predict with the values that training begins with.",
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Preemption, "preemption")
        # Preemption writes last.ckpt; after a resume a checkpoint takes the place of the one it is the same as
        parser.set_defaults(
            {"checkpoint.save_last": False, "checkpoint.enable_version_counter": False}
        )

    def _dump_config(self) -> None:
        """Lightning's own, with names as they are."""
        if not hasattr(self, "config_dump"):
            config = config_text.plain(
                self.parser, self.config, skip_link_targets=False
            )
            self.config_dump = config[cast(str, self.subcommand)]

    @override
    def _parse_ckpt_path(self) -> None:
        """Keep what the command line says: a checkpoint's hyper-parameters would silently win."""

    @override
    def before_instantiate_classes(self) -> None:
        """Find the weights that an evaluation looks at, before anything is built."""
        config = self.config[cast(str, self.subcommand)]
        run = (
            evaluation.run_of(config, self._flags)
            if self.subcommand in evaluation.COMMANDS
            else None
        )
        if run is None:
            return
        chosen = evaluation.best_checkpoint(run)
        config.ckpt_path, config.artifact = str(chosen.path), None
        if leads():
            print(f"checkpoint {chosen.path}, {chosen.why}")

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        if SLURMEnvironment.detect():
            check_tasks(given["num_nodes"], given["devices"])
        logger = self._logger(
            Path(
                given["default_root_dir"]
                or Path("runs", self._get(self.config_init, "name"))
            )
        )
        # Lightning's own requeueing saves in the signal handler, which deadlocks
        slurm = (
            [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
        )
        defaults = {
            "default_root_dir": logger.log_dir,  # under SLURM the Trainer resumes what it takes for a checkpoint there
            "logger": _beside(logger, given["logger"]),
            "plugins": given["plugins"] or [AtomicCheckpointIO(), *slurm],
            "strategy": resolve_strategy(given["strategy"]),
        }
        if given["enable_progress_bar"] is None:
            defaults["enable_progress_bar"] = (
                sys.stdout.isatty()
            )  # elsewhere it would be one endless line
        return super().instantiate_trainer(**defaults, **kwargs)

    def _logger(self, root: Path) -> RunLogger:
        """That of a folder of its own."""
        _require_text(Path(self._get(self.config_init, "run_folder") or root))
        if (
            self.subcommand != "fit"
        ):  # a run's own configuration names its folder, which is not for the others
            return RunLogger(
                new_version(root) if leads() else root / "version_of_rank_zero"
            )
        folder = self._get(self.config_init, "run_folder")
        self._check_places(folder)
        if folder is None and not leads():
            return RunLogger(
                root / "version_of_rank_zero"
            )  # never made: Lightning asks rank zero
        self.run_folder = (
            RunFolder.new(root) if folder is None else RunFolder(Path(folder))
        )
        self._resumed = self.run_folder.begin()
        return RunLogger(
            self.run_folder.path,
            run=self.run_folder.id,
            row=self._resumed and self._resumed.row,
        )

    def _check_places(self, folder: str | None) -> None:
        """What a run goes on from must lie where it looks."""
        if self._get(self.config_init, "trainer")["logger"] is False:
            raise ValueError(
                "trainer.logger=false: a training always writes its events to its folder, for its resume goes on in "
                "them; leave it out, or name loggers that get them too"
            )
        place = self._get(self.config_init, "checkpoint").dirpath
        if place is not None and (
            folder is None
            or Path(place).resolve() != Path(folder, CHECKPOINTS).resolve()
        ):
            raise ValueError(
                f"checkpoint.dirpath={place}: a run's checkpoints lie in its folder, where the same command looks for "
                "them; leave it out, and give the folder as --run_folder"
            )

    @override
    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        options = super()._prepare_subcommand_kwargs(subcommand)
        if self._resumed is not None:
            options["ckpt_path"] = str(self._resumed.path)
        elif options.get("ckpt_path"):
            _check_checkpoint(options["ckpt_path"])
        if subcommand == "fit" and options["ckpt_path"]:
            _require_optimizer(options["ckpt_path"])
        if subcommand == "fit" and options["ckpt_path"] and leads():
            self._tell_changes(
                Path(os.path.abspath(options["ckpt_path"])).parent.parent / CONFIG
            )
        return options

    def _tell_changes(self, before: Path) -> None:
        if not before.is_file():
            return
        text = config_text.dumped(
            self._parser(self.subcommand), self.config[cast(str, self.subcommand)]
        )
        found = config_differences(
            config_text.read(before.read_text("utf-8")), config_text.read(text)
        )
        lines = [
            f"{key}: {old} -> {new}" for key, old, new in found if key not in _PLACES
        ]
        if lines:
            print(f"not as in {before}:", *lines, sep="\n  ")

    def after_test(self) -> None:
        """Called by Lightning, once it has printed the metrics: tell where the logits are."""
        path = run_folder(self.trainer) / SCORES
        if leads() and path.is_file():  # a bank and a retrieval write others
            print(f"written to {visible(str(path))}", flush=True)

    def after_predict(self) -> None:
        """Called by Lightning: name the videos that have no class, and end with exit code 1 where there are any.

        Raises:
            SystemExit: with 1 on rank zero, which leads; with 0 on the others, which would else seem to have failed.
        """
        tables = [
            callback
            for callback in vars(self.trainer)["callbacks"]
            if isinstance(callback, TopClassTable)
        ]
        faults = [fault for table in tables for fault in table.faults.values()]
        if not faults:
            return
        if self.trainer.is_global_zero:
            told = " ".join("; ".join(faults).split())
            print(
                f"lightning-petl: {len(faults)} video(s) could not be read and have no class: {visible(told)}",
                file=sys.stderr,
            )
        raise SystemExit(int(self.trainer.is_global_zero))

    def after_fit(self) -> None:
        """Called by Lightning."""
        if self.run_folder is not None:
            self.run_folder.finished()
            if leads() and not cast(Any, self.trainer).fast_dev_run:
                print(closing.finished(self.run_folder.path, self.trainer), flush=True)


def _beside(logger: RunLogger, given: Any) -> Any:
    """The run's own logger comes first: Lightning asks it where the run is."""
    if given is False:
        return False
    others = (
        []
        if given in (None, True)
        else [given]
        if isinstance(given, Logger)
        else list(given)
    )
    return [logger, *others]


def _require_text(folder: Path) -> None:
    """TensorBoard encodes the names of its files strictly."""
    if any("\udc80" <= character <= "\udcff" for character in str(folder)):
        raise ValueError(
            f"{folder}: a run cannot be written to a folder whose name is no UTF-8 text; give another"
        )


def _check_checkpoint(path: str) -> None:
    if "://" in path:
        return
    if not Path(path).is_file():
        raise ValueError(
            f"ckpt_path: {path} is no file; give that of a checkpoint, as runs/mine/{CHECKPOINTS}/last.ckpt"
        )
    why = content(Path(path))
    if isinstance(why, str):
        raise ValueError(f"ckpt_path: {path} cannot be read: {why}")


def _require_optimizer(path: str) -> None:
    if "://" in path:
        return
    state = content(Path(path))
    if (
        isinstance(state, dict)
        and not {"optimizer_states", "lr_schedulers"} <= state.keys()
    ):
        raise ValueError(
            f"ckpt_path: {path} holds weights alone, as checkpoint.save_weights_only writes them: test and export take "
            "it, but no training goes on from it; give a whole checkpoint"
        )
