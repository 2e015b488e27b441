"""``export``: write the adapter artifact of any checkpoint. No data set is read."""

import argparse
from pathlib import Path
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from data_modules.loading.data_module import VideoDataModule
from lightning_petl.artifacts import format as artifact
from lightning_petl.callbacks.ema import evaluated_state
from lightning_petl.checkpoints.atomic import AtomicCheckpointIO
from lightning_petl.checkpoints.trainable_state import load_trainable
from lightning_petl.cli import config_files, evaluation
from lightning_petl.cli.artifact_option import VIDEO_FILES, hidden
from lightning_petl.cli.lightning import WithoutLogs, run_cli
from lightning_petl.cli.silenced import plainly_told
from lightning_petl.runs.folder import CONFIG, content
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.task import Task

COMMAND = "validate"  # whose configuration is read: it takes a checkpoint
_LOOKS = ("sampling", "image_size", "views", "eval_crop")
_HERE = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "precision": "32-true",
}


def run(argv: list[str]) -> int:
    """Run ``export``."""
    config_files.check(argv)
    with plainly_told():
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
    if (
        given.ckpt_path
        and given.ckpt_path[-1]
        and not (given.config or given.run_folder)
    ):
        own = Path(given.ckpt_path[-1]).parent.parent / CONFIG
        return [COMMAND, *(["--config", str(own)] if own.is_file() else []), *argv]
    return evaluation.with_run([COMMAND, *argv])


def prepare(config: Namespace) -> None:
    """Put the classes that a checkpoint names in the place of the data set, and this process in that of many.

    Raises:
        ValueError: no checkpoint, one that cannot be read, or a folder that holds something already.
    """
    if not config.ckpt_path:
        raise ValueError(
            "export: no checkpoint is given: --run_folder RUN for the best of a run, or --ckpt_path FILE"
        )
    output = Path(config.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output: {output} is there already; give a new folder")
    state = content(Path(config.ckpt_path))
    if isinstance(state, str) or "labels" not in state:
        why = (
            state if isinstance(state, str) else "not a training state of this program"
        )
        raise ValueError(f"ckpt_path: {config.ckpt_path} cannot be read: {why}")
    looks = {name: config.data.init_args[name] for name in _LOOKS}
    config.data = Namespace(
        class_path=VIDEO_FILES,
        init_args=Namespace(labels=hidden(list(state["labels"])), **looks),
    )
    for name, value in _HERE.items():
        config.trainer[name] = value


def write(
    model: Task, checkpoint: Path, output: Path, protocol: dict[str, Any]
) -> list[Path]:
    """Write the artifact of a checkpoint, or one for each member of a bank, and return their folders.

    Raises:
        ValueError: the checkpoint is of another trunk, stack or labels, or of a task that has no artifact.
    """
    if not isinstance(model, VideoClassifier | Bank):
        raise ValueError(
            f"export: an artifact holds a classifier, and {type(model).__name__} is none: share its checkpoint and its "
            "configuration"
        )
    state = AtomicCheckpointIO().load_checkpoint(checkpoint)
    model.on_load_checkpoint(state)
    load_trainable(model, evaluated_state(state))
    if isinstance(model, VideoClassifier):
        artifact.write(output, model.trained(), protocol)
        return [output]
    for name in model.members:
        artifact.write(output / name, model.trained(name), protocol)
    return [output / name for name in model.members]


class ExportCLI(WithoutLogs):
    """``export``: what ``validate`` is given, and the folder of the artifact."""

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
        prepare(self.config[cast(str, self.subcommand)])

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Write in the place of validating."""
        given = self.config_init[subcommand]
        protocol = cast(VideoDataModule, self.datamodule).protocol()
        for folder in write(
            cast(Task, self.model), Path(given.ckpt_path), Path(given.output), protocol
        ):
            print(f"artifact {folder} of {given.ckpt_path}")
