"""Composition root: YAML and flags become data, model and Trainer. The only file that knows both packages."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import data_modules.compat  # noqa: F401  # before lightning, which imports torchvision

# isort: split
from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from typing_extensions import override

import data_modules.folder
import data_modules.something_something
import lightning_petl.tasks.classification  # noqa: F401  # these imports make the class names known
from data_modules.base import VideoDataModule
from data_modules.sampling import Sampling
from lightning_petl.adapters import Adapter
from lightning_petl.callbacks.random_state import RandomStates
from lightning_petl.checkpoint import AtomicCheckpointIO
from lightning_petl.errors import told_to_the_user


class PetlCLI(LightningCLI):
    """Lightning's commands over models and data sets given as classes in the configuration."""

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", type=str, default="default", help="The run writes to runs/<name>/version_<n>.")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {"model": "VideoClassifier", "checkpoint.monitor": "val/top1", "checkpoint.mode": "max"}
            | {"checkpoint.save_last": True}
        )
        for source, target in _LINKS.items():
            parser.link_arguments(source, target, apply_on="instantiate")

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        # Lightning warns where args are given while sys.argv holds something; main(argv) may be called anywhere
        self.config = parser.parse_args(args)

    @override
    def _parse_ckpt_path(self) -> None:
        """Keep what the command line says: a checkpoint's hyper-parameters would silently win."""

    @override
    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        self.model.save_hyperparameters(self.config_dump["model"])

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        root = given["default_root_dir"] or str(Path("runs", self._get(self.config_init, "name")))
        logger = TensorBoardLogger(root, name="", default_hp_metric=False)
        defaults = {
            "default_root_dir": root,  # one a run: under SLURM the Trainer resumes any checkpoint it finds there
            "logger": logger if given["logger"] in (None, True) else given["logger"],
            "plugins": given["plugins"] or [AtomicCheckpointIO()],
        }
        return super().instantiate_trainer(**defaults, **kwargs)


_LINKS = {
    "data.labels": "model.init_args.labels",
    "data.image_size": "model.init_args.backbone.init_args.image_size",
    "data.num_frames": "model.init_args.backbone.init_args.num_frames",
}


def run(argv: list[str]) -> int:
    """Run one command in this process.

    Returns:
        The exit code: 0, or 2 for a wrong value, which is told in one paragraph.
    """
    try:
        _run(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    except Exception as error:
        message = told_to_the_user(error, _class_names())
        if message is None:
            raise
        print(f"lightning-petl: {message}", file=sys.stderr)
        return 2
    return 0


def _run(argv: list[str]) -> None:
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    PetlCLI(
        LightningModule,
        VideoDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=argv,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False},
        save_config_kwargs={"overwrite": True},
        trainer_defaults={"use_distributed_sampler": False, "callbacks": _callbacks()},
    )


def _class_names() -> list[str]:
    """What may stand for a class in a configuration."""
    return sorted({cls.__name__ for base in (Adapter, VideoDataModule, Sampling) for cls in _subclasses(base)})


def _subclasses(base: type) -> Iterator[type]:
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)


def _callbacks() -> list[Callback]:
    return [RandomStates(), LearningRateMonitor()]
