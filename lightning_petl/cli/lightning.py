"""Composition root: YAML and flags become data, model and Trainer. The only file that knows both packages."""

import inspect
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jsonargparse import ArgumentParser, Namespace
from jsonargparse._util import import_object
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import ArgsType, LightningArgumentParser
from rich.console import Console
from typing_extensions import override

from data_modules.commands.build_cache import Storage, build
from data_modules.io.names import visible
from data_modules.loading.data_module import VideoDataModule
from lightning_petl.adapters import Adapter
from lightning_petl.backbones import VideoViT, prefix
from lightning_petl.callbacks.cost.log_interval import LogInterval
from lightning_petl.callbacks.cost.memory_check import MemoryCheck
from lightning_petl.callbacks.cost.ownership import Ownership
from lightning_petl.callbacks.cost.throughput import Throughput
from lightning_petl.callbacks.guards.bad_files import BadFiles
from lightning_petl.callbacks.guards.frozen_guard import FrozenGuard
from lightning_petl.callbacks.guards.gradient_guard import GradientGuard
from lightning_petl.callbacks.guards.loss_guard import LossGuard
from lightning_petl.callbacks.guards.ranks import RankLost, Ranks
from lightning_petl.callbacks.outputs.artifact_writer import ArtefactWriter
from lightning_petl.callbacks.outputs.epoch_lines import EpochLines
from lightning_petl.callbacks.outputs.member_runs import MemberRuns
from lightning_petl.callbacks.outputs.predictions import TestScores, TopClassTable
from lightning_petl.callbacks.outputs.retrieval_scores import RetrievalScores
from lightning_petl.callbacks.resume.global_batch import GlobalBatch
from lightning_petl.callbacks.resume.random_state import RandomStates
from lightning_petl.cli import config_files, config_text, evaluation, export
from lightning_petl.cli import data as data_cli
from lightning_petl.cli.artifact_option import (
    HELP,
    built_of_shown,
    hidden,
    require_weights,
    tell_protocol,
    with_artefact,
)
from lightning_petl.cli.errors import goes_on_next_time, told_to_the_user
from lightning_petl.cli.known import known
from lightning_petl.cli.run_cli import RunCLI
from lightning_petl.cli.silenced import plainly_told
from lightning_petl.cost.summary import Plan, summarise, tables
from lightning_petl.heads.linear import HeadRecipe
from lightning_petl.optim.optimizer import accumulation
from lightning_petl.runs.logger import RunLogger
from lightning_petl.runs.signals import PREEMPTED
from lightning_petl.strategies import ddp, precision
from lightning_petl.tasks import loading
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.task import Task


class PetlCLI(RunCLI):
    """Lightning's commands over models and data sets given as classes in the configuration.

    Attributes:
        runs_here: on this machine; else it may be asked about another one's devices.
    """

    runs_here: ClassVar[bool] = True

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument("--artefact", type=str | None, default=None, help=HELP)
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
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        # Lightning warns where args are given while sys.argv holds something; main(argv) may be called anywhere
        self.config = config_text.parse(parser, cast(list[str], args))

    @override
    def before_instantiate_classes(self) -> None:
        """Complete and check what model, data and Trainer say together, before anything is built."""
        super().before_instantiate_classes()
        config = self.config[cast(str, self.subcommand)]
        self._check(config.trainer)
        task = cast(type[Task], import_object(config.model.class_path))
        if config.checkpoint.monitor == _OF_TASK:
            config.checkpoint.monitor = task.best_by
        if not task.reads_features and self._takes_features(config):
            raise ValueError(
                f"a cache keeps what a classifier reads, and {task.__name__} needs the clips: leave data.cache out, "
                "and build none"
            )

    def _check(self, trainer: Namespace) -> None:
        ddp.chosen(getattr(trainer.strategy, "class_path", trainer.strategy))
        nothing_else = (
            trainer.accelerator == "auto"
            and self.runs_here
            and not torch.accelerator.is_available()
        )
        precision.chosen(
            trainer.precision, on_cpu=trainer.accelerator == "cpu" or nothing_else
        )

    def _takes_features(self, config: Namespace) -> bool:
        return bool(config.data.init_args.get("cache"))

    @override
    def _add_instantiators(self) -> None:
        """Give constructors their text as it was; Lightning's own hands over hyper-parameters, which nobody asks."""
        for kind in (LightningModule, VideoDataModule, Adapter, HeadRecipe):
            self.parser.add_instantiator(built_of_shown, kind)

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        if self._get(self.config_init, "trainer")["log_every_n_steps"] is None:
            cast(list[Callback], vars(trainer)["callbacks"]).insert(0, LogInterval())
        return trainer

    @override
    def instantiate_classes(self) -> None:
        self._dump_config()
        folder = self._get(self.config, "artefact")
        command = cast(str, self.subcommand)
        if folder is not None:
            require_weights(self.config[command], Path(folder))
        super().instantiate_classes()
        given = self.config_init[command]
        if folder is not None:
            loading.restore(Path(folder), cast(VideoClassifier, self.model))
            tell_protocol(command, Path(folder), cast(VideoDataModule, self.datamodule))
        elif command in evaluation.COMMANDS and not (
            given.ckpt_path or given.untrained
        ):
            evaluation.require_trained(command, cast(Task, self.model).owners.values())
        self.model.save_hyperparameters(self.config_dump["model"])


class CacheCLI(PetlCLI):
    """``cache build``: what ``fit`` is given, and how the features of its frozen trunk are kept."""

    exit_code = 0

    @override
    def _takes_features(self, config: Namespace) -> bool:
        return True

    @override
    def _logger(self, root: Path) -> RunLogger:
        return RunLogger(root)  # nothing is logged

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(Storage)
        parser.add_argument(
            "--parts",
            type=list[str] | None,
            default=None,
            help="What is kept: pixels, embedding, block.<index> and feature; what the stack needs where not given.",
        )

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Build in the place of training."""
        backbone = (
            cast(VideoClassifier, self.model)
            .to(self.trainer.strategy.root_device)
            .backbone
        )
        parts = self._parts(backbone)
        storage = Storage(
            **{
                field.name: self._get(self.config_init, field.name)
                for field in fields(Storage)
            }
        )
        self.exit_code = build(
            cast(VideoDataModule, self.datamodule),
            lambda clips: prefix.prefix(
                backbone, clips.to(backbone.pixel_mean.device), parts
            ),
            trunk=prefix.identity(backbone, parts),
            storage=storage,
        )

    def _parts(self, backbone: VideoViT) -> list[str]:
        parts = self._get(self.config_init, "parts") or prefix.needed(backbone)
        unknown = [name for name in parts if name not in prefix.offered(backbone)]
        if unknown:
            raise ValueError(
                f"parts: nothing frozen is named {', '.join(unknown)}; there are {', '.join(prefix.offered(backbone))}"
            )
        return parts


class ExportCLI(PetlCLI):
    """``export``: what ``validate`` is given, and the folder of the artifact."""

    @override
    def _logger(self, root: Path) -> RunLogger:
        return RunLogger(root)  # nothing is logged

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--output",
            type=str,
            required=True,
            help="Folder of the artefact; it is made.",
        )

    @override
    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        export.prepare(self.config[cast(str, self.subcommand)])

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Write in the place of validating."""
        given = self.config_init[subcommand]
        protocol = cast(VideoDataModule, self.datamodule).protocol()
        for folder in export.write(
            cast(Task, self.model), Path(given.ckpt_path), Path(given.output), protocol
        ):
            print(f"artefact {folder} of {given.ckpt_path}")


class CheckCLI(PetlCLI):
    """``check``: reads the whole configuration of ``fit`` and prints it; a wrong one is told. Builds nothing."""

    runs_here = False

    @override
    def instantiate_classes(self) -> None:
        """Only print: required values that are missing are told by the parser, unlike with ``--print_config``."""
        print(
            config_text.dumped(
                self._parser(self.subcommand), self.config[cast(str, self.subcommand)]
            )
        )

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is built, so nothing runs."""


class SummaryCLI(PetlCLI):
    """``summary``: what ``fit`` is given, and what that will cost each device. No data and no weights are read."""

    runs_here = False

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--num_classes",
            type=int | None,
            default=None,
            help="Where the data set does not say.",
        )

    @override
    def instantiate_classes(self) -> None:
        """Only the model, without weights."""
        data = self._get(self.config, "data")
        options = data.init_args.as_dict()
        frames = {
            "image_size": options["image_size"],
            "num_frames": options["sampling"]["init_args"]["num_frames"],
        }
        where = self._where(options["batch_size"])
        self._plan = Plan(
            clips=options["batch_size"] * options["num_sample"], **frames, **where
        )
        model = self._get(self.config, "model").as_dict()
        model["init_args"]["backbone"]["init_args"] |= frames | {"weights": "random"}
        if (
            "labels"
            in inspect.signature(
                cast(type, import_object(model["class_path"]))
            ).parameters
        ):
            model["init_args"]["labels"] = [
                str(number) for number in range(self._num_classes(data))
            ]
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(Task, "model")
        with torch.device("meta"):
            self._task = parser.instantiate_classes(
                parser.parse_object({"model": model})
            )["model"]

    def _num_classes(self, data: Namespace) -> int:
        published = getattr(import_object(data.class_path), "CLASSES", None)
        number = (
            self._get(self.config, "num_classes")
            or data.init_args.get("num_classes")
            or published
        )
        if number is None:
            raise ValueError(
                f"summary: {data.class_path} has as many classes as its files say: give --num_classes"
            )
        return number

    def _where(self, micro: int) -> dict[str, Any]:
        trainer = self._get(self.config, "trainer")
        said = ddp.chosen(getattr(trainer.strategy, "class_path", trainer.strategy))
        ranks = _devices(trainer, said) * trainer.num_nodes
        kind = (
            "fsdp"
            if "sharded" in str(said).lower()
            else "one"
            if said == "auto" and ranks == 1
            else "ddp"
        )
        passes = accumulation(
            self._get(self.config, "model").get("init_args.optim.global_batch"),
            ranks=ranks,
            micro=micro,
        )
        averaged = any(
            getattr(callback, "class_path", "").endswith(".EMA")
            for callback in trainer.callbacks or []
        )
        return {
            "ranks": ranks,
            "strategy": kind,
            "precision": precision.chosen(trainer.precision),
            "passes": max(passes, trainer.accumulate_grad_batches or 1),
            "averaged": averaged,
        }

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Simulate a step in the place of training."""
        for table in tables(summarise(self._task, self._plan), self._plan):
            Console().print(table)


def _devices(trainer: Namespace, strategy: object) -> int:
    """How many of a node ``trainer.devices`` means: a number, a list, or all that there are."""
    said = (
        ",".join(map(str, trainer.devices)) + ","
        if isinstance(trainer.devices, list)
        else str(trainer.devices)
    )
    if "," in said:
        return len([name for name in said.split(",") if name.strip()])
    if said.isdigit():
        return int(said)
    if said not in ("auto", "-1"):
        raise ValueError(
            f"trainer.devices {said}: expected a number, a list as 0,1, or auto"
        )
    if trainer.accelerator != "cpu" and torch.accelerator.is_available():
        return torch.accelerator.device_count()
    if strategy != "auto":
        raise ValueError(
            f"trainer.devices {said}: this machine has no GPU to count: give --trainer.devices"
        )
    return 1


_OF_TASK = "task"
"""The ``checkpoint.monitor`` that stands for the task's own metric."""

_CLI = TypeVar("_CLI", bound=PetlCLI)

_LINKS = {
    "data.labels": "model.init_args.labels",
    "data.image_size": "model.init_args.backbone.init_args.image_size",
    "data.num_frames": "model.init_args.backbone.init_args.num_frames",
}


def run(argv: list[str]) -> int:
    """Run one command in this process.

    Returns:
        The exit code: 0, 75 where the same command goes on, 2 for a wrong value, told in one paragraph, or 1 where
        ``predict`` found videos that cannot be read; that of a command on data.
    """
    try:
        config_files.check(argv)
        with plainly_told():
            if argv[0] == "data":
                return data_cli.run(argv[1:])
            if argv[0] == "cache":
                return _cache(argv[1:])
            if argv[0] == "export":
                _run(ExportCLI, export.command_line(argv[1:]))
                return 0
            if argv[0] in ("check", "summary"):
                _run(
                    CheckCLI if argv[0] == "check" else SummaryCLI,
                    with_artefact(["fit", *argv[1:]]),
                )
                return 0
            _run(PetlCLI, with_artefact(evaluation.with_run(argv)))
    except SystemExit as stop:
        return int(stop.code or 0)
    except RankLost as lost:
        print(f"lightning-petl: {lost}", file=sys.stderr)
        return lost.code
    except Exception as error:
        message = told_to_the_user(error, known(argv))
        if message is None:
            raise
        print(f"lightning-petl: {visible(message)}", file=sys.stderr)
        return PREEMPTED if goes_on_next_time(error) else 2
    return 0


def _run(cli: type[_CLI], argv: list[str]) -> _CLI:
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
        # the table of owners says more than Lightning's summary
        trainer_defaults={
            "use_distributed_sampler": False,
            "enable_model_summary": False,
            "callbacks": _callbacks(),
        },
    )


def _cache(argv: list[str]) -> int:
    if argv[:1] != ["build"]:
        raise ValueError(f"cache: no command {' '.join(argv[:1])!r}; there is: build")
    return _run(CacheCLI, with_artefact(["fit", *argv[1:]])).exit_code


def _callbacks() -> list[Callback]:
    guards = [
        Ownership(),
        GradientGuard(),
        FrozenGuard(),
        RandomStates(),
        GlobalBatch(),
        Ranks(),
    ]
    costs = [LearningRateMonitor(), Throughput(), MemoryCheck(), EpochLines()]
    return [
        *guards,
        *costs,
        TestScores(),
        TopClassTable(),
        RetrievalScores(),
        ArtefactWriter(),
        MemberRuns(),
    ]
