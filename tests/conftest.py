"""What all tests share."""

import data_modules.compat  # noqa: F401, I001  # before any test imports lightning, which imports torchvision

import lightning.pytorch  # noqa: F401  # its log handler keeps the stderr of its first import: not that of one test
import signal
from collections.abc import Generator
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import pytest
import torch.distributed as dist
from hypothesis import HealthCheck, settings

from lightning_petl.callbacks.cost import memory_check
from lightning_petl.cost.summary import Summary, TrainingPlan, summarize
from lightning_petl.tasks.task import Task
from tests.commands import Command

# The same draws in every run, and no limit of time: machines that run tests are often busy.
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_interrupts() -> None:
    """A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def forks_have_imported() -> None:
    """Load the command line in the server of forks, so that the ranks of a test need not."""
    get_context("forkserver").set_forkserver_preload(
        ["lightning_petl.cli.lightning"]
    )


@pytest.fixture(scope="session", autouse=True)
def equal_trainings_are_simulated_once() -> Generator[None]:
    """Keep the estimate of memory at the end of a run, a third of a small run's time, for runs of equal settings."""
    known: dict[str, Summary] = {}

    def kept(task: Task, plan: TrainingPlan) -> Summary:
        sizes = [(name, p.shape, p.dtype) for name, p in task.named_parameters()]
        trained = [p.requires_grad for p in task.parameters()]
        key = str((task.hparams, task, sizes, trained, plan))
        if not task.hparams:  # of no configuration: nobody knows all settings
            return summarize(task, plan)
        if key not in known:
            known[key] = summarize(task, plan)
        return known[key]

    with patch.object(memory_check, "summarize", kept):
        yield


@pytest.fixture(autouse=True)
def no_process_group_is_left(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Lightning leaves that of a strategy behind, where it is, and the seed of a run; a later run would find them."""
    left = (
        "MASTER_ADDR",
        "MASTER_PORT",
        "RANK",
        "LOCAL_RANK",
        "NODE_RANK",
        "WORLD_SIZE",
        "PL_GLOBAL_SEED",
    )
    for name in left:
        monkeypatch.setenv(
            name, ""
        )  # which is noted, so that it is as before once the test has ended
        monkeypatch.delenv(name)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Arguments of a small run in a folder of its own."""
    return Command(tmp_path)
