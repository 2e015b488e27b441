"""What all tests share."""

import data_modules.compat  # noqa: F401, I001  # before any test imports lightning, which imports torchvision

import lightning.pytorch  # noqa: F401  # its log handler keeps the stderr of its first import: not that of one test
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
import torch.distributed as dist
from hypothesis import HealthCheck, settings

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
