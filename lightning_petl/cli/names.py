"""What a configuration may name: the one file that imports every class of it, and lists names for messages."""

import inspect
from collections.abc import Iterator
from functools import partial

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from data_modules.loading.base import VideoDataModule
from data_modules.sampling.schemes import Sampling
from data_modules.sets import all_sets as all_sets
from data_modules.transforms.augment import Augmentation
from data_modules.transforms.crops import Transform
from lightning_petl.adapters import Adapter
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.text import TextTower
from lightning_petl.callbacks.compile_blocks import CompileBlocks as CompileBlocks
from lightning_petl.callbacks.ema import EMA as EMA
from lightning_petl.callbacks.guards.bad_files import BadFiles
from lightning_petl.callbacks.guards.loss_guard import LossGuard
from lightning_petl.callbacks.resume.preemption import Preemption
from lightning_petl.cli import config_files
from lightning_petl.cli import data as data_cli
from lightning_petl.cli.parser_reports import Known, options_of
from lightning_petl.heads.linear import HeadRecipe
from lightning_petl.heads.similarity import SimilarityRecipe
from lightning_petl.heads.text import TextHead as TextHead
from lightning_petl.optim.optimizer import Optimisation, Schedule
from lightning_petl.tasks.bank.task import Bank as Bank
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval as VideoTextRetrieval
from lightning_petl.tasks.task import Task

# By the last part of a key, what its value must be.
_CLASSES: dict[str, type] = {
    "model": Task,
    "data": VideoDataModule,
    "adapters": Adapter,
    "head": HeadRecipe,
    "similarity": SimilarityRecipe,
    "sampling": Sampling,
    "train_transform": Transform,
    "augmentations": Augmentation,
    "text": TextTower,
    "callbacks": Callback,
}


def known(argv: list[str]) -> Known:
    """Return the names that are valid on a command line, for messages about one that is not."""
    return Known(
        _class_names, partial(_options, argv), partial(config_files.where, argv)
    )


def _class_names(key: str = "") -> list[str]:
    """Names of the classes that may be the value of a key, of all keys where none is named as one of ``_CLASSES``."""
    bases = (
        [_CLASSES[key]] if key in _CLASSES else list(_CLASSES.values())[:-1]
    )  # Lightning has many callbacks
    found = {
        cls.__name__
        for base in bases
        for cls in (base, *_subclasses(base))
        if not inspect.isabstract(cls)
    }
    return sorted(name for name in found if not name.startswith("_"))


def _options(argv: list[str]) -> list[str]:
    """Names of the options of a command, as ``trainer.max_epochs``; of model and data those that all have."""
    if argv[0] == "data":
        names = [
            name
            for function in data_cli.COMMANDS.values()
            for name in inspect.signature(function).parameters
        ]
        return [*names, "config", *_below("data", VideoDataModule)]
    groups = {
        "trainer": Trainer,
        "checkpoint": ModelCheckpoint,
        "preemption": Preemption,
        "bad_files": BadFiles,
        "loss_guard": LossGuard,
        "data": VideoDataModule,
        "model": VideoClassifier,
        "model.backbone": VideoViT,
        "model.optim": Optimisation,
        "model.optim.schedule": Schedule,
    }
    own = [
        "config",
        "seed_everything",
        "name",
        "run_folder",
        "artefact",
        "ckpt_path",
        "print_config",
        "data.root",
    ]
    return [
        *own,
        *(name for group, cls in groups.items() for name in _below(group, cls)),
    ]


def _below(group: str, cls: type) -> list[str]:
    return [f"{group}.{name}" for name in options_of(cls) if name != "self"]


def _subclasses(base: type) -> Iterator[type]:
    for cls in base.__subclasses__():
        if not inspect.isabstract(cls):
            yield cls
        yield from _subclasses(cls)
