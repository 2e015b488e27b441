"""Run Lightning's commands, each in a folder of its own; ``fit`` in one where it can go on.

Members with an underscore that :class:`RunCLI` overrides or calls (``_get``, ``_parser``, ``_dump_config``,
``_parse_ckpt_path``, ``_prepare_subcommand_kwargs``, ``_prepare_subcommand_parser``) are private in Lightning 2.6,
which offers no other way: look at them first when Lightning is raised.
"""

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
from lightning_petl.callbacks.outputs.predictions import TopClassTable
from lightning_petl.callbacks.resume.best_checkpoint import BestCheckpoint
from lightning_petl.callbacks.resume.preemption import Preempted, Preemption
from lightning_petl.checkpoints.atomic import AtomicCheckpointIO
from lightning_petl.cli import closing, config_text, evaluation
from lightning_petl.cli.errors import comes_again
from lightning_petl.cli.given_checkpoint import check_checkpoint, require_optimizer
from lightning_petl.runs.config_diff import config_differences
from lightning_petl.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    ResumePoint,
    RunFolder,
    leads,
    new_version,
    run_folder,
)
from lightning_petl.runs.logger import RunLogger
from lightning_petl.strategies.registry import resolve_strategy
from lightning_petl.strategies.slurm_tasks import check_tasks

# Keys that say where and not what: a resume may change them.
_PLACES = ("ckpt_path", "run_folder", "config")


class ConfigFile(SaveConfigCallback):
    """Write ``config.yaml``, the configuration of the folder's last training.

    A start that is refused leaves the file as it was.
    """

    @override
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        # For fit not here, as Lightning 2.6 has it: a guard may still refuse the start.
        if stage != "fit":
            super().setup(trainer, pl_module, stage)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")

    @override
    def save_config(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        text = config_text.dumped(self.parser, self.config)
        write_whole(run_folder(trainer) / CONFIG, text.encode())


class RunCLI(LightningCLI):
    """Decide where a command writes, and from which checkpoint ``fit`` goes on.

    Attributes:
        run_folder: of ``fit``; None for the other commands.
    """

    run_folder: RunFolder | None = None
    _resumed: ResumePoint | None = None
    _evaluated: Path | None = None
    _best_by: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._command = kwargs["args"][0]
        self._flags = {word.partition("=")[0] for word in kwargs["args"]}
        files = {
            "save_config_callback": ConfigFile,
            "save_config_kwargs": {"save_to_log_dir": False},
        }
        try:
            super().__init__(*args, **files, **kwargs)
        except BaseException as error:
            interrupted = _by_ctrl_c(error)
            self._give_up(error, interrupted)
            if interrupted:
                # Lightning 2.6 makes of it a SystemExit of 1, the exit code of a bug.
                raise KeyboardInterrupt from None
            raise
        finally:
            if self.run_folder is not None:
                self.run_folder.release()

    def _give_up(self, error: BaseException, interrupted: bool) -> None:
        """Leave the run folder as the next start needs it, and tell how to go on."""
        if self.run_folder is None:
            return
        if interrupted or comes_again(error):
            # It does not count as one of the starts that come no further.
            self.run_folder.withdraw()
        if leads() and (interrupted or isinstance(error, Preempted)):
            print(closing.interrupted(self.run_folder.path), flush=True)

    @override
    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Describe the options of the given command alone: those of all four take three times as long."""
        if subcommand != self._command:
            return self.init_parser(**kwargs)
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

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
            {
                "checkpoint.save_last": False,
                "checkpoint.enable_version_counter": False,
            }
        )

    def _dump_config(self) -> None:
        """Set ``config_dump`` as Lightning does, with names as the user wrote them."""
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
        if self.subcommand not in evaluation.COMMANDS:
            return
        config = self.config[cast(str, self.subcommand)]
        run = evaluation.run_of(config, self._flags)
        if run is None:
            return
        self._evaluated = run
        chosen = evaluation.best_checkpoint(run)
        self._best_by = chosen.monitor
        config.ckpt_path = str(chosen.path)
        # The run may have begun with an artifact; its checkpoint holds what became of it.
        config.artifact = None
        if leads():
            print(f"checkpoint {chosen.path}, {chosen.why}")

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        if SLURMEnvironment.detect():
            check_tasks(given["num_nodes"], given["devices"])
        root = given["default_root_dir"]
        if not root:
            root = Path("runs", self._get(self.config_init, "name"))
        logger = self._logger(Path(root))
        defaults = {
            # Under SLURM the Trainer would resume a file there that it takes for a checkpoint.
            "default_root_dir": logger.log_dir,
            "logger": _beside(logger, given["logger"]),
            "plugins": given["plugins"] or _plugins(),
            "strategy": resolve_strategy(given["strategy"]),
        }
        if given["enable_progress_bar"] is None:
            # In a file it would be one endless line.
            defaults["enable_progress_bar"] = sys.stdout.isatty()
        return super().instantiate_trainer(**defaults, **kwargs)

    def _logger(self, root: Path) -> RunLogger:
        """Create the TensorBoard logger of a new version folder; for ``fit``, of the run folder, which may resume.

        Args:
            root: the folder of the version folders.

        Raises:
            ValueError: the folder's name is no text, or the configuration wants logs or checkpoints elsewhere.
        """
        folder = self._get(self.config_init, "run_folder")
        _require_text(Path(folder or root))
        # Never made: Lightning asks rank zero for the folder.
        elsewhere = root / "version_of_rank_zero"
        if self.subcommand != "fit":
            # A run's own configuration names its folder, which is not for the others.
            return RunLogger(new_version(root) if leads() else elsewhere)
        self._check_places(folder)
        if folder is None and not leads():
            return RunLogger(elsewhere)
        run = RunFolder.new(root) if folder is None else RunFolder(Path(folder))
        # Kept before begin, so that a start that fails releases the folder.
        self.run_folder = run
        self._resumed = run.begin()
        row = self._resumed and self._resumed.row
        return RunLogger(run.path, run=run.id, row=row)

    def _check_places(self, folder: str | None) -> None:
        """Refuse logs and checkpoints in a place where the next start would not look.

        Raises:
            ValueError: ``trainer.logger`` is false, or ``checkpoint.dirpath`` is not that of the run folder.
        """
        if self._get(self.config_init, "trainer")["logger"] is False:
            raise ValueError(
                "trainer.logger=false: a training always writes its "
                "events to its folder, for its resume goes on in "
                "them; leave it out, or name loggers that get them too"
            )
        place = self._get(self.config_init, "checkpoint").dirpath
        if place is not None and not _is_of_run(place, folder):
            raise ValueError(
                f"checkpoint.dirpath={place}: a run's checkpoints "
                "lie in its folder, where the same command looks for "
                "them; leave it out, and give the folder as --run_folder"
            )

    @override
    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        options = super()._prepare_subcommand_kwargs(subcommand)
        if self._resumed is not None:
            options["ckpt_path"] = str(self._resumed.path)
        elif options.get("ckpt_path"):
            check_checkpoint(options["ckpt_path"])
        if subcommand == "fit" and options["ckpt_path"]:
            require_optimizer(options["ckpt_path"])
            # Not resolved: behind a link the folder of the checkpoint may be another one.
            file = Path(os.path.abspath(options["ckpt_path"]))
            if leads():
                self._tell_changes(file.parent.parent / CONFIG)
        return options

    def _tell_changes(self, before: Path) -> None:
        """Print each setting that is not as in the configuration that a checkpoint was trained with."""
        if not before.is_file():
            return
        config = self.config[cast(str, self.subcommand)]
        # As text and back, so that both have passed through YAML.
        now = config_text.read(
            config_text.dumped(self._parser(self.subcommand), config)
        )
        then = config_text.read(before.read_text("utf-8"))
        lines: list[str] = []
        for key, old, new in config_differences(then, now):
            if key not in _PLACES:
                lines.append(f"{key}: {old} -> {new}")
        if lines:
            print(f"not as in {before}:", *lines, sep="\n  ")

    def after_test(self) -> None:
        """Print where the scores are; Lightning calls it once it has printed the metrics."""
        if leads():
            closing.tested(run_folder(self.trainer), self._evaluated)

    def after_predict(self) -> None:
        """Name the videos that have no class, and end with exit code 1 where there are any; Lightning calls it.

        Raises:
            SystemExit: with 1 on rank zero, which leads; with 0 on the others, which would else seem to have failed.
        """
        faults: list[str] = []
        for callback in vars(self.trainer)["callbacks"]:
            if isinstance(callback, TopClassTable):
                faults += callback.faults.values()
        if not faults:
            return
        if self.trainer.is_global_zero:
            told = " ".join("; ".join(faults).split())
            print(
                f"lightning-petl: {len(faults)} video(s) could "
                f"not be read and have no class: {visible(told)}",
                file=sys.stderr,
            )
        raise SystemExit(int(self.trainer.is_global_zero))

    def after_fit(self) -> None:
        """Mark the run as finished and print what to do next; Lightning calls it."""
        if self.run_folder is not None:
            self.run_folder.finished()
            if leads() and not cast(Any, self.trainer).fast_dev_run:
                print(
                    closing.finished(self.run_folder.path, self.trainer), flush=True
                )


def _by_ctrl_c(error: BaseException) -> bool:
    """Return whether Lightning ended the process because of Ctrl-C."""
    is_exit = isinstance(error, SystemExit)
    return is_exit and isinstance(error.__context__, KeyboardInterrupt)


def _plugins() -> list[Any]:
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():
        # Lightning 2.6 requeues by saving in the signal handler, which deadlocks.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _beside(logger: RunLogger, given: Any) -> Any:
    """Return the run's own logger and the user's; the own one is first, for Lightning asks the first for the folder."""
    if given is False:
        return False
    if given in (None, True):
        return [logger]
    if isinstance(given, Logger):
        return [logger, given]
    return [logger, *given]


def _is_of_run(place: str, folder: str | None) -> bool:
    if folder is None:
        return False
    return Path(place).resolve() == Path(folder, CHECKPOINTS).resolve()


def _require_text(folder: Path) -> None:
    """Refuse a folder whose name is no text.

    Raises:
        ValueError: its name has bytes that are no UTF-8.
    """
    # TensorBoard encodes the names of its files strictly.
    if any("\udc80" <= character <= "\udcff" for character in str(folder)):
        raise ValueError(
            f"{folder}: a run cannot be written to a folder "
            "whose name is no UTF-8 text; give another"
        )
