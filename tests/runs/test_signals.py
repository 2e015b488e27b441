"""Signals that come when nobody expects them any more."""

import subprocess
import sys

import pytest

LATE = """
import os, signal
from lightning_petl.runs.signals import stop_request

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.{name}):
        kill(pid, number)

with stop_request(kept=True):
    pass
late = Late()  # ends with the interpreter, when Python has taken back all handlers
"""


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_signal_while_the_interpreter_ends_makes_no_failure_of_a_success(
    name: str,
) -> None:
    assert (
        subprocess.run([sys.executable, "-c", LATE.format(name=name)]).returncode
        == 0
    )
