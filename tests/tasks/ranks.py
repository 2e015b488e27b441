"""Commands on several ranks, as real processes, and what they logged."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = "import json, sys; from lightning_petl.__main__ import main; print(*map(main, json.loads(sys.argv[1])))"


def on_ranks(
    commands: list[list[str]], count: int = 2, accelerator: str = "cpu"
) -> list[str]:
    """Run commands one after the other in the same processes: imports cost more than small runs.

    Returns:
        What each rank wrote to its standard error.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    flags = [f"--trainer.devices={count}", f"--trainer.accelerator={accelerator}"]
    work = json.dumps([[*command, *flags] for command in commands])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, work],
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "LOCAL_RANK": str(rank), "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        told = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for out, err in told:
        assert out.split("\n")[-2:] == [" ".join("0" * len(commands)), ""], err[-4000:]
    return [err for _, err in told]


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
            actual, expected, atol=atol, rtol=rtol, msg=lambda text: f"{place}: {text}"
        )
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), place
        for key, value in expected.items():
            close(actual[key], value, rtol=rtol, atol=atol, place=f"{place}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), place
        for index, value in enumerate(expected):
            close(actual[index], value, rtol=rtol, atol=atol, place=f"{place}[{index}]")
    else:
        assert actual == (
            pytest.approx(expected, rel=rtol)
            if isinstance(expected, float)
            else expected
        ), place
