"""Tell what a training will cost each device; no data and no weights are read (``summary``)."""

import inspect
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jsonargparse import ArgumentParser, Namespace

# Private in jsonargparse 4.49, which has no public way from a dotted path to its class.
from jsonargparse._util import import_object
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console
from typing_extensions import override

from lightning_petl.cli import config_files
from lightning_petl.cli.artifact_option import with_artifact
from lightning_petl.cli.lightning import PetlCLI, run_cli
from lightning_petl.cost.summary import TrainingPlan, summarize, tables
from lightning_petl.optim.optimizer import accumulation
from lightning_petl.strategies.precision import resolve_precision
from lightning_petl.strategies.registry import kind_of_strategy
from lightning_petl.tasks.task import Task


def run(argv: list[str]) -> int:
    """Run ``summary``."""
    with config_files.checked(argv):
        run_cli(SummaryCLI, with_artifact(["fit", *argv[1:]]))
    return 0


class SummaryCLI(PetlCLI):
    """Read what ``fit`` is given, and print what it will cost each device; read no data and no weights."""

    # It is asked before a training is queued, mostly on a machine without its GPUs.
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
        """Build the model alone, on the meta device: without memory and without weights."""
        data = self._get(self.config, "data")
        options = data.init_args.as_dict()
        frames = {
            "image_size": options["image_size"],
            "num_frames": options["sampling"]["init_args"]["num_frames"],
        }
        micro = options["batch_size"]
        # num_sample draws several clips of each video of a batch.
        clips = micro * options["num_sample"]
        self._plan = TrainingPlan(clips=clips, **frames, **self._where(micro))
        model = self._get(self.config, "model").as_dict()
        model["init_args"]["backbone"]["init_args"] |= frames | {
            "weights": "random"
        }
        task = cast(type, import_object(model["class_path"]))
        if "labels" in inspect.signature(task).parameters:
            # Only their number costs anything.
            numbers = range(self._num_classes(data))
            model["init_args"]["labels"] = [str(number) for number in numbers]
        self._task = on_meta(model)

    def _num_classes(self, data: Namespace) -> int:
        """Return the number of classes that the user, the configuration or the data set says.

        Raises:
            ValueError: none of them says it.
        """
        number = self._get(self.config, "num_classes")
        number = number or data.init_args.get("num_classes")
        number = number or getattr(import_object(data.class_path), "CLASSES", None)
        if number is None:
            raise ValueError(
                f"summary: {data.class_path} has as many "
                "classes as its files say: give --num_classes"
            )
        return number

    def _where(self, micro: int) -> dict[str, Any]:
        """Return how a training is spread over devices, as arguments of :class:`TrainingPlan`.

        Args:
            micro: videos of a batch of one rank.
        """
        trainer = self._get(self.config, "trainer")
        strategy = getattr(trainer.strategy, "class_path", trainer.strategy)
        kind = kind_of_strategy(strategy)
        ranks = _devices(trainer, kind) * trainer.num_nodes
        if kind == "auto":
            kind = "one" if ranks == 1 else "ddp"
        model = self._get(self.config, "model")
        batch = model.get("init_args.optim.global_batch")
        passes = accumulation(batch, ranks=ranks, micro=micro)
        return {
            "ranks": ranks,
            "strategy": kind,
            "precision": resolve_precision(trainer.precision),
            "passes": max(passes, trainer.accumulate_grad_batches or 1),
            "averaged": _has_average(trainer),
        }

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Simulate a step in the place of training."""
        for table in tables(summarize(self._task, self._plan), self._plan):
            Console().print(table)


def on_meta(model: dict[str, Any]) -> Task:
    """Build a task from its configuration, with tensors that have a shape and no memory."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model")
    config = parser.parse_object({"model": model})
    with torch.device("meta"):
        return parser.instantiate_classes(config)["model"]


def _has_average(trainer: Namespace) -> bool:
    """Return whether a callback keeps an average of the trained weights, which takes memory."""
    return any(
        getattr(callback, "class_path", "").endswith(".EMA")
        for callback in trainer.callbacks or []
    )


def _devices(trainer: Namespace, strategy: object) -> int:
    """Return how many devices of a node ``trainer.devices`` means: a number, a list, or all that there are.

    Raises:
        ValueError: it is none of them, or "all" on a machine that has none to count.
    """
    said = str(trainer.devices)
    if isinstance(trainer.devices, list):
        # One more comma, by which Lightning tells a list of one from a number.
        said = ",".join(map(str, trainer.devices)) + ","
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
            f"trainer.devices {said}: this machine has "
            "no GPU to count: give --trainer.devices"
        )
    return 1
