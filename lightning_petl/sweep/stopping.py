"""Take requests to stop a sweep, which its processes are then asked for."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from lightning_petl.runs.signals import SIGNALS


class SweepStop:
    """Count the requests to stop.

    Attributes:
        wanted: a signal or Ctrl-C came: each training saves what it has reached, and ends.
        at_once: Ctrl-C came again: trainings are killed.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.at_once = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # Schedulers send SIGUSR1 and SIGTERM one after the other; only a person is in a hurry.
        if number == signal.SIGINT and self.wanted:
            self.at_once = True
        self.wanted = True


@contextmanager
def sweep_stop() -> Generator[SweepStop]:
    """Take requests while the block runs; the handlers of before are installed again behind it."""
    stop = SweepStop()
    # Python lets the main thread alone install handlers.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, object] = {}
    for number in (*SIGNALS, signal.SIGINT):
        before[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
