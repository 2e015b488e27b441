"""Write down what must be equal where two runs are compared, and what each of them costs."""

from pathlib import Path
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from data_modules.io.atomic import write_whole
from data_modules.io.names import to_json
from data_modules.io.untrusted import read_json
from lightning_petl.callbacks.outputs.predictions import (
    scores_folder,
    tested_names,
)
from lightning_petl.cost.operations import view_macs
from lightning_petl.runs.folder import run_folder
from lightning_petl.runs.logger import RunLogger
from lightning_petl.tasks.bank.member import described
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval
from lightning_petl.tasks.task import Task

TRAINING = "training.json"
TESTING = "testing.json"
FORMAT = 1
"""Version of both files; a larger one may mean something else by the same keys."""

MOST_BYTES = 1 << 24
"""Largest size of such a file, which may come from anybody."""


class RunRecord(Callback):
    """Write ``training.json`` when a training begins and ends, and ``testing.json`` beside the scores of a test.

    Of a bank, each member has a ``testing.json`` in the folder of its scores. Both files hold what is known only
    while a program runs: which files the data set has, what decodes them, the hash of the trunk, how many clips an
    update sees, and the metrics. What the user has chosen is in ``config.yaml``.
    """

    def __init__(self) -> None:
        self._macs: dict[str, int] = {}

    @override
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        if stage != "test" or not trainer.is_global_zero:
            return
        # here, because a sharded model cannot be copied
        try:
            self._macs = view_macs(cast(Task, pl_module))
        except (RuntimeError, NotImplementedError) as error:
            # an operator of a user's own that torch cannot simulate must not end the test
            rank_zero_warn(f"the operations of a view cannot be counted: {error}")

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write_training(trainer, cast(Task, pl_module), finished=False)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write_training(trainer, cast(Task, pl_module), finished=True)

    def _write_training(
        self, trainer: Trainer, task: Task, *, finished: bool
    ) -> None:
        if not trainer.is_global_zero:
            return
        data = _data_of(trainer)
        passes = trainer.accumulate_grad_batches
        record = {
            **_common(trainer, task),
            "run": _run_id(trainer),
            "data": data.record("train"),
            "batch": data.batch_size * trainer.world_size * passes,
            "passes": passes,
            "ranks": trainer.world_size,
            "epochs": trainer.max_epochs,
            "updates": trainer.global_step,
            "finished": finished,
        }
        write_whole(run_folder(trainer) / TRAINING, to_json(record, indent=1))

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        task = cast(Task, pl_module)
        data = _data_of(trainer)
        record = {
            **_common(trainer, task),
            **_weights(trainer),
            "data": data.record("test"),
            "look": data.protocol(),
            "labels": list(task.labels),
        }
        for name in tested_names(task):
            own = record | {
                "metrics": _metrics(trainer, name),
                "parameters": _parameters(task, name),
                "macs": self._macs.get(name),
            }
            if isinstance(task, Bank):
                own |= {"member": name, "settings": described(task.members[name])}
                own["seed"] = task.members[name].seed
                own["own_best"] = name in task.own_best
            path = scores_folder(run_folder(trainer), name) / TESTING
            write_whole(path, to_json(own, indent=1))


def _common(trainer: Trainer, task: Task) -> dict[str, Any]:
    """Return what a training and a test have both to tell."""
    trunk = task.trunk._asdict() | {"depth": task.backbone.depth}
    if isinstance(task, VideoTextRetrieval) and task.published_text:
        trunk["text"] = task.published_text.weights_hash
    return {
        "format": FORMAT,
        "task": type(task).__name__,
        "trunk": trunk,
        "precision": str(trainer.precision),
        "hardware": _hardware(trainer),
    }


def _hardware(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    name = f"CPU, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return f"{trainer.world_size} x {name}" if trainer.world_size > 1 else name


def _weights(trainer: Trainer) -> dict[str, Any]:
    """Return the checkpoint that is tested, and how far its run had come."""
    if not trainer.ckpt_path:
        return {"checkpoint": None, "run": None}
    checkpoint = Path(str(trainer.ckpt_path))
    try:
        record = read_json(checkpoint.parent.parent / TRAINING, most=MOST_BYTES)
        run = {"id": record["run"], "updates": record["updates"]}
    except (OSError, ValueError, KeyError, TypeError):
        # of an earlier release, or a checkpoint that lies alone
        run = None
    return {"checkpoint": checkpoint.name, "run": run}


def _run_id(trainer: Trainer) -> str:
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            return logger.run
    return ""


def _metrics(trainer: Trainer, member: str) -> dict[str, float]:
    """Return what the test has logged, without the name of a member in front."""
    prefix = f"{member}/" if member else ""
    found: dict[str, float] = {}
    for key, value in trainer.callback_metrics.items():
        if key.startswith(f"{prefix}test/"):
            found[key.removeprefix(prefix)] = float(value)
    return found


def _parameters(task: Task, member: str) -> dict[str, int]:
    """Return how many parameters each owner trains; of a member, its own."""
    owners = task.owners
    prefix = f"{member}/" if member else ""
    found: dict[str, int] = {}
    for name, parameter in task.named_parameters():
        owner = owners.get(name, "")
        if owner.startswith(prefix) and owner:
            short = owner.removeprefix(prefix)
            found[short] = found.get(short, 0) + parameter.numel()
    return found


def _data_of(trainer: Trainer) -> Any:
    # Lightning 2.6 sets this attribute by its name, which pyright does not see
    return trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
