"""Build data, model and Trainer from YAML and flags, and run ``fit``, ``validate``, ``test`` or ``predict``.

``_get``, ``_add_instantiators`` and the other members with an underscore are private in Lightning 2.6: see
:mod:`lightning_petl.cli.run_cli`.
"""

from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jsonargparse import Namespace

# Private in jsonargparse 4.49, which has no public way from a dotted path to its class.
from jsonargparse._util import import_object
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser
from typing_extensions import override

from data_modules.loading.data_module import VideoDataModule
from lightning_petl.adapters import Adapter
from lightning_petl.callbacks.cost.log_interval import LogInterval
from lightning_petl.callbacks.guards.bad_files import BadFiles
from lightning_petl.callbacks.guards.loss_guard import LossGuard
from lightning_petl.callbacks.outputs.member_runs import MONITOR, MemberRuns
from lightning_petl.cli import config_files, config_text, defaults, evaluation
from lightning_petl.cli import (
    names as names,
)  # makes all classes known by their names
from lightning_petl.cli.artifact_option import (
    HELP,
    built_of_shown,
    hidden,
    require_weights,
    tell_protocol,
    with_artifact,
)
from lightning_petl.cli.run_cli import RunCLI
from lightning_petl.heads.linear import HeadRecipe
from lightning_petl.runs.logger import RunLogger
from lightning_petl.strategies.precision import resolve_precision
from lightning_petl.strategies.registry import resolve_strategy
from lightning_petl.tasks import loading
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.task import Task

# the ``checkpoint.monitor`` that stands for the task's own metric
_OF_TASK = "task"
# What the data set decides and the model needs. Linked when both are built, as a data set
# reads its labels from its files.
_LINKS = {
    "data.labels": "model.init_args.labels",
    "data.image_size": "model.init_args.backbone.init_args.image_size",
    "data.num_frames": "model.init_args.backbone.init_args.num_frames",
}


class PetlCLI(RunCLI):
    """Run Lightning's commands over models and data sets that the configuration gives as classes.

    Attributes:
        runs_here: whether the command uses the devices of this machine; False where the configuration may be for
            another one.
    """

    runs_here: ClassVar[bool] = True

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument("--artifact", type=str | None, default=None, help=HELP)
        parser.add_lightning_class_args(BadFiles, "bad_files")
        parser.add_lightning_class_args(LossGuard, "loss_guard")
        parser.set_defaults(
            {
                "model": "VideoClassifier",
                "checkpoint.monitor": _OF_TASK,
                "checkpoint.mode": "max",
            }
        )
        for source, target in _LINKS.items():
            parser.link_arguments(
                source, target, compute_fn=hidden, apply_on="instantiate"
            )

    @override
    def parse_arguments(
        self, parser: LightningArgumentParser, args: ArgsType
    ) -> None:
        # Not Lightning's own, which warns where args are given while sys.argv holds something;
        # main(argv) may be called anywhere.
        self.config = config_text.parse(parser, cast(list[str], args))

    @override
    def before_instantiate_classes(self) -> None:
        """Complete and check what model, data and Trainer say together, before anything is built.

        Raises:
            ValueError: an unknown strategy or precision, or a cache for a task that needs clips.
        """
        super().before_instantiate_classes()
        config = self.config[cast(str, self.subcommand)]
        self._check(config.trainer)
        task = cast(type[Task], import_object(config.model.class_path))
        if config.checkpoint.monitor == _OF_TASK:
            config.checkpoint.monitor = task.best_by
        if not task.reads_features and self._takes_features(config):
            raise ValueError(
                "a cache keeps what a classifier reads, and "
                f"{task.__name__} needs the clips: leave data.cache out, "
                "and build none"
            )

    def _check(self, trainer: Namespace) -> None:
        resolve_strategy(getattr(trainer.strategy, "class_path", trainer.strategy))
        on_cpu = trainer.accelerator == "cpu"
        if trainer.accelerator == "auto" and self.runs_here:
            # What auto becomes, which the Trainer decides only when it is built.
            on_cpu = not torch.accelerator.is_available()
        resolve_precision(trainer.precision, on_cpu=on_cpu)

    def _takes_features(self, config: Namespace) -> bool:
        return bool(config.data.init_args.get("cache"))

    @override
    def _add_instantiators(self) -> None:
        """Give constructors the text that ``hidden`` took out, in the place of Lightning's own instantiators."""
        # Those of Lightning 2.6 hand hyper-parameters to load_from_checkpoint, which is not used.
        for kind in (LightningModule, VideoDataModule, Adapter, HeadRecipe):
            self.parser.add_instantiator(built_of_shown, kind)

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        if self._get(self.config_init, "trainer")["log_every_n_steps"] is None:
            callbacks = cast(list[Callback], vars(trainer)["callbacks"])
            # First: the others log at the interval that it sets.
            callbacks.insert(0, LogInterval())
        return trainer

    @override
    def instantiate_classes(self) -> None:
        # Before building, which replaces values by objects.
        self._dump_config()
        folder = self._get(self.config, "artifact")
        command = cast(str, self.subcommand)
        if folder is not None:
            require_weights(self.config[command], Path(folder))
        super().instantiate_classes()
        self._tell_members()
        given = self.config_init[command]
        # A checkpoint is read later, by Lightning.
        has_weights = given.ckpt_path or given.untrained
        if folder is not None:
            loading.restore(Path(folder), cast(VideoClassifier, self.model))
            tell_protocol(
                command, Path(folder), cast(VideoDataModule, self.datamodule)
            )
        elif command in evaluation.COMMANDS and not has_weights:
            owners = cast(Task, self.model).owners
            evaluation.require_trained(command, owners.values())
        self.model.save_hyperparameters(self.config_dump["model"])

    def _tell_members(self) -> None:
        """Tell the members of a bank where their own best weights lie."""
        # A bank that monitored something else is evaluated as its checkpoint has it.
        if self._best_by != MONITOR:
            return
        for callback in vars(self.trainer)["callbacks"]:
            if isinstance(callback, MemberRuns):
                callback.evaluated = self._evaluated


class WithoutLogs(PetlCLI):
    """Run a command that logs nothing, without a version folder for it."""

    @override
    def _logger(self, root: Path) -> RunLogger:
        return RunLogger(root)


_CLI = TypeVar("_CLI", bound=PetlCLI)


def run(argv: list[str]) -> int:
    """Run ``fit``, ``validate``, ``test`` or ``predict``."""
    with config_files.checked(argv):
        run_cli(PetlCLI, with_artifact(evaluation.with_run(argv)))
    return 0


def run_cli(cli: type[_CLI], argv: list[str]) -> _CLI:
    """Parse a command line, build data, model and Trainer, and run the command.

    Args:
        cli: which command, as a class.
        argv: a command of Lightning's, then its options.
    """
    config_text.prepare()
    return cli(
        LightningModule,
        VideoDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=argv,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        parser_kwargs={
            "parser_mode": "omegaconf+",
            "exit_on_error": False,
            "allow_abbrev": False,
        },
        trainer_defaults={
            # the data module deals its clips to ranks itself
            "use_distributed_sampler": False,
            # the table of owners says more than Lightning's summary
            "enable_model_summary": False,
            "callbacks": defaults.callbacks(),
        },
    )
