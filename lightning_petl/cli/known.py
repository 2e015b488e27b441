"""List the names that are valid on a command line, for messages about one that is not."""

import inspect
from collections.abc import Iterator
from functools import partial

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from data_modules.loading.data_module import VideoDataModule
from lightning_petl.backbones import VideoViT
from lightning_petl.callbacks.guards.bad_files import BadFiles
from lightning_petl.callbacks.guards.loss_guard import LossGuard
from lightning_petl.callbacks.resume.preemption import Preemption
from lightning_petl.cli import config_files
from lightning_petl.cli import data as data_cli
from lightning_petl.cli.names import BASES
from lightning_petl.cli.parser_reports import Known, options_of
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.optim.schedule import Schedule
from lightning_petl.tasks.classification import VideoClassifier

# Lightning 2.6 brings many callbacks and strategies, which no typing mistake in the
# name of a method means.
_OF_LIGHTNING = ("callbacks", "strategy")


def known(argv: list[str]) -> Known:
    """Return the names that are valid on a command line, for messages about one that is not."""
    return Known(
        classes=class_names,
        options=partial(_options, argv),
        where=partial(config_files.where, argv),
    )


def class_names(key: str = "") -> list[str]:
    """Return the names of the classes that may be the value of a key, sorted.

    A key that is not in :data:`~lightning_petl.cli.names.BASES` may have any of them.
    """
    bases = [BASES[key]] if key in BASES else _bases_of_ours()
    found = set[str]()
    for base in bases:
        found.update(kind.__name__ for kind in subclasses(base))
    # A class with an underscore is for its own file.
    return sorted(name for name in found if not name.startswith("_"))


def _bases_of_ours() -> list[type]:
    return [base for key, base in BASES.items() if key not in _OF_LIGHTNING]


def _options(argv: list[str]) -> list[str]:
    """Return the options of a command, as ``trainer.max_epochs``; of model and data those that all have.

    ``data index`` and ``data ingest`` have options of their own and those of the data module.
    """
    if argv[0] == "data":
        options = ["config", *_options_of_data_commands()]
        return options + _below("data", VideoDataModule)
    options = [*_OWN]
    for group, kind in _GROUPS.items():
        options += _below(group, kind)
    return options


def _options_of_data_commands() -> list[str]:
    options: list[str] = []
    for function in data_cli.COMMANDS.values():
        options += inspect.signature(function).parameters
    return options


def _below(group: str, kind: type) -> list[str]:
    return [f"{group}.{name}" for name in options_of(kind) if name != "self"]


def subclasses(base: type) -> Iterator[type]:
    """Yield a class and all below it that can be built."""
    if not inspect.isabstract(base):
        yield base
    for kind in base.__subclasses__():
        yield from subclasses(kind)


# options of fit that belong to no class
_OWN = (
    "config",
    "seed_everything",
    "name",
    "run_folder",
    "artifact",
    "ckpt_path",
    "print_config",
    "data.root",
)
# by the prefix of their options: classes whose arguments are options
_GROUPS: dict[str, type] = {
    "trainer": Trainer,
    "checkpoint": ModelCheckpoint,
    "preemption": Preemption,
    "bad_files": BadFiles,
    "loss_guard": LossGuard,
    "data": VideoDataModule,
    "model": VideoClassifier,
    "model.backbone": VideoViT,
    "model.optim": OptimizerConfig,
    "model.optim.schedule": Schedule,
}
