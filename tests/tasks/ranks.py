"""Commands on several ranks, as real processes, and what they logged."""

import json
import os
import socket
import warnings
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main


class Told(NamedTuple):
    """Hold what one rank gave back: the exit code of each command, and its standard error."""

    codes: list[int]
    error: str


def codes_on_ranks(
    commands: Sequence[list[str]],
    count: int = 2,
    accelerator: str = "cpu",
    *,
    quiet: bool = False,
) -> list[Told]:
    """Run commands one after the other in ``count`` processes that are the ranks of one group.

    Imports cost more than small runs, so that the processes of all tests are forked from one that has imported once.
    CUDA wants processes that are no forks.

    Args:
        commands: of the command line, without the options of devices.
        count: of ranks.
        accelerator: of each.
        quiet: warnings are no part of what the ranks tell.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    flags = [f"--trainer.devices={count}", f"--trainer.accelerator={accelerator}"]
    work = [[*command, *flags] for command in commands]
    group = {
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    start = get_context("forkserver" if accelerator == "cpu" else "spawn")
    with TemporaryDirectory() as folder:
        processes: list[Any] = []
        for rank in range(count):
            environment = os.environ | group | {"LOCAL_RANK": str(rank)}
            place = (os.getcwd(), f"{folder}/{rank}")
            given = (work, environment, *place, quiet)
            processes.append(start.Process(target=_rank, args=given))
            processes[-1].start()
        try:
            for process in processes:
                process.join(500)
        finally:
            for process in processes:
                process.kill()
                process.join()
        return [_told(Path(folder) / str(rank)) for rank in range(count)]


def _rank(
    commands: list[list[str]],
    environment: dict[str, str],
    folder: str,
    output: str,
    quiet: bool,
) -> None:
    """Be one rank: what ``python -c`` would do, with what it writes in files."""
    for number, suffix in ((1, "out"), (2, "err")):
        file = os.open(f"{output}.{suffix}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # Lightning reads LOCAL_RANK when it is imported, which was before this process began
    rank_zero_only.rank = int(environment["LOCAL_RANK"])
    if quiet:
        warnings.simplefilter("ignore")
    codes = [main(command) for command in commands]
    Path(f"{output}.json").write_text(json.dumps(codes))


def _told(path: Path) -> Told:
    error = path.with_suffix(".err").read_text()
    codes = path.with_suffix(".json")
    assert codes.exists(), error[-12000:]
    return Told(json.loads(codes.read_text()), error)


def on_ranks(
    commands: Sequence[list[str]],
    count: int = 2,
    accelerator: str = "cpu",
    *,
    quiet: bool = False,
) -> list[str]:
    """Run commands as :func:`codes_on_ranks` does, each of which must succeed; return what the ranks told."""
    told = codes_on_ranks(commands, count, accelerator, quiet=quiet)
    for rank in told:
        assert rank.codes == [0] * len(commands), rank.error[-12000:]
    return [rank.error for rank in told]


def scalars(run: Path, name: str) -> list[float]:
    """The values of a curve of ``run``, in the order of their steps."""
    events = EventAccumulator(str(run))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def close(
    actual: Any, expected: Any, *, rtol: float, atol: float, place: str = ""
) -> None:
    """The same structure, and numbers that differ by rounding."""
    assert type(actual) is type(expected), place
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(
            actual,
            expected,
            atol=atol,
            rtol=rtol,
            msg=lambda text: f"{place}: {text}",
        )
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), place
        for key, value in expected.items():
            close(actual[key], value, rtol=rtol, atol=atol, place=f"{place}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), place
        for index, value in enumerate(expected):
            close(
                actual[index],
                value,
                rtol=rtol,
                atol=atol,
                place=f"{place}[{index}]",
            )
    else:
        assert actual == (
            pytest.approx(expected, rel=rtol)
            if isinstance(expected, float)
            else expected
        ), place
