"""``summary``: what a training will cost each device. No data and no weights are read."""

import inspect
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jsonargparse import ArgumentParser, Namespace
from jsonargparse._util import import_object
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console
from typing_extensions import override

from lightning_petl.cli import config_files
from lightning_petl.cli.artifact_option import with_artifact
from lightning_petl.cli.lightning import PetlCLI, run_cli
from lightning_petl.cli.silenced import plainly_told
from lightning_petl.cost.summary import TrainingPlan, summarize, tables
from lightning_petl.optim.optimizer import accumulation
from lightning_petl.strategies.precision import resolve_precision
from lightning_petl.strategies.registry import kind_of_strategy
from lightning_petl.tasks.task import Task


def run(argv: list[str]) -> int:
    """Run ``summary``."""
    config_files.check(argv)
    with plainly_told():
        run_cli(SummaryCLI, with_artifact(["fit", *argv[1:]]))
    return 0


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
        self._plan = TrainingPlan(
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
        kind = kind_of_strategy(
            getattr(trainer.strategy, "class_path", trainer.strategy)
        )
        ranks = _devices(trainer, kind) * trainer.num_nodes
        if kind == "auto":
            kind = "one" if ranks == 1 else "ddp"
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
            "precision": resolve_precision(trainer.precision),
            "passes": max(passes, trainer.accumulate_grad_batches or 1),
            "averaged": averaged,
        }

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Simulate a step in the place of training."""
        for table in tables(summarize(self._task, self._plan), self._plan):
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
