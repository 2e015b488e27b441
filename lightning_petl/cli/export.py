"""Write the adapter artifact of any checkpoint; no data set is read (``export``)."""

import argparse
from pathlib import Path
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from data_modules.loading.data_module import VideoDataModule
from data_modules.loading.subset import Subset
from lightning_petl.artifacts import format as artifact
from lightning_petl.callbacks.ema import evaluated_state
from lightning_petl.checkpoints.atomic import AtomicCheckpointIO
from lightning_petl.checkpoints.trainable_state import load_trainable
from lightning_petl.cli import config_files, evaluation
from lightning_petl.cli.artifact_option import VIDEO_FILES, hidden
from lightning_petl.cli.lightning import WithoutLogs, run_cli
from lightning_petl.runs.folder import CONFIG, content
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.task import Task

COMMAND = "validate"  # whose configuration is read: it takes a checkpoint
# arguments of a data module that the artifact's protocol holds
_LOOKS = ("sampling", "image_size", "views", "eval_crop")
# One process without a GPU is enough to read a file and to write another, whatever the
# training had.
_HERE = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "precision": "32-true",
}


def run(argv: list[str]) -> int:
    """Run ``export``."""
    with config_files.checked(argv):
        run_cli(ExportCLI, command_line(argv[1:]))
    return 0


def command_line(argv: list[str]) -> list[str]:
    """Put the configuration in front: that of the run, or that of the run in whose folder ``--ckpt_path`` lies.

    Raises:
        ValueError: a run folder without configuration.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (("--config", "-c"), ("--run_folder",), ("--ckpt_path",)):
        parser.add_argument(*names, nargs="?", action="append", default=[])
    given = parser.parse_known_args(argv)[0]
    file = given.ckpt_path[-1] if given.ckpt_path else None
    if not file or given.config or given.run_folder:
        return evaluation.with_run([COMMAND, *argv])
    # A run has its checkpoints in a folder of its own, beside its configuration.
    own = Path(file).parent.parent / CONFIG
    if not own.is_file():
        return [COMMAND, *argv]
    return [COMMAND, "--config", str(own), *argv]


def prepare(config: Namespace) -> Subset:
    """Replace the data set by the class names of the checkpoint, and the Trainer's settings by one process on the CPU.

    Returns:
        The part of the data set that was trained on.

    Raises:
        ValueError: no checkpoint, one that cannot be read, or a folder that holds something already.
    """
    if not config.ckpt_path:
        raise ValueError(
            "export: no checkpoint is given: --run_folder "
            "RUN for the best of a run, or --ckpt_path FILE"
        )
    output = Path(config.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output: {output} is there already; give a new folder")
    state = content(Path(config.ckpt_path))
    if isinstance(state, str) or "labels" not in state:
        why = "not a training state of this program"
        if isinstance(state, str):
            why = state
        raise ValueError(f"ckpt_path: {config.ckpt_path} cannot be read: {why}")
    # before the data set is replaced by one that has no clips
    subset = _subset(config.data.init_args)
    # Class names are free text, in which the parser would replace ${...}.
    arguments = Namespace(labels=hidden(list(state["labels"])))
    for name in _LOOKS:
        arguments[name] = config.data.init_args[name]
    config.data = Namespace(class_path=VIDEO_FILES, init_args=arguments)
    for name, value in _HERE.items():
        config.trainer[name] = value
    return subset


def _subset(arguments: Namespace) -> Subset:
    options: dict[str, Any] = {}
    for name in ("shots", "percent", "classes", "base_classes"):
        options[name] = arguments[name]
    return Subset(**options, seed=arguments["subset_seed"])


def write(
    model: Task, checkpoint: Path, output: Path, protocol: dict[str, Any]
) -> list[Path]:
    """Write the artifact of a checkpoint, or one for each member of a bank, and return their folders.

    Raises:
        ValueError: the checkpoint is of another trunk, stack or labels, or of a task that has no artifact.
    """
    if not isinstance(model, VideoClassifier | Bank):
        raise ValueError(
            "export: an artifact holds a classifier, and "
            f"{type(model).__name__} is none: share its checkpoint and its "
            "configuration"
        )
    state = AtomicCheckpointIO().load_checkpoint(checkpoint)
    # Before the weights: it refuses a checkpoint of another trunk, stack or labels.
    model.on_load_checkpoint(state)
    load_trainable(model, evaluated_state(state))
    if isinstance(model, VideoClassifier):
        artifact.write(output, model.trained(), protocol)
        return [output]
    folders: list[Path] = []
    for name in model.members:
        artifact.write(output / name, model.trained(name), protocol)
        folders.append(output / name)
    return folders


class ExportCLI(WithoutLogs):
    """Read what ``validate`` is given, and write the artifact to ``--output``."""

    _subset = Subset()

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--output",
            type=str,
            required=True,
            help="Folder of the artifact; it is made.",
        )

    @override
    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        self._subset = prepare(self.config[cast(str, self.subcommand)])

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Write in the place of validating."""
        given = self.config_init[subcommand]
        protocol = cast(VideoDataModule, self.datamodule).protocol()
        subset = self._subset.settings()
        if subset:
            protocol["subset"] = subset
        folders = write(
            cast(Task, self.model),
            Path(given.ckpt_path),
            Path(given.output),
            protocol,
        )
        for folder in folders:
            print(f"artifact {folder} of {given.ckpt_path}")
