"""Take requests to stop that come as signals: SIGUSR1 before a time limit, SIGTERM at its end.

Where SLURM tracks processes without cgroups it signals every process of a step, the loaders' workers too; they must
neither end nor believe that the request was meant for them.
"""

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from types import FrameType

PREEMPTED = 75  # EX_TEMPFAIL: stopped by a signal, what was reached is saved, the same command goes on
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
STOPPABLE = ("fit", "validate", "test", "predict")
PARENT = "LIGHTNING_PETL_PARENT"
"""Variable that holds the process without which this one must not go on."""


class StopRequest:
    """Handle signals by taking a note, in the process that installed this handler.

    Attributes:
        received: the signal that came first, None before.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._pid = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid and self.received is None:
            self.received = signal.Signals(number)

    def listen(self) -> None:
        """Install this handler.

        Lightning 2.6 installs handlers of its own when a loop starts. They save a checkpoint inside the
        handler, and its collectives would run in the middle of those of the training.
        """
        for number in SIGNALS:
            signal.signal(number, self)

    @staticmethod
    def ignore() -> None:
        """Ignore these signals from now on: a second one must not disturb the saving."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_request(*, kept: bool) -> Generator[StopRequest]:
    """Listen while the block runs, and yield the request.

    Args:
        kept: ignore the signals after the block; else the handlers of before are installed again.
    """
    # Python lets the main thread alone install handlers
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    StopRequest.ignore()
    _start_helpers()
    request = StopRequest()
    request.listen()
    try:
        yield request
    finally:
        if kept:
            # Python removes handlers as it ends: a late signal would turn success into failure
            StopRequest.ignore()
        else:
            for number, handler in before.items():
                signal.signal(number, handler)


def current_request() -> StopRequest | None:
    """Return the request that listens in this process, if one does."""
    handler = signal.getsignal(signal.SIGUSR1)
    return handler if isinstance(handler, StopRequest) else None


def die_with_parent() -> None:
    """Let the kernel kill this rank when the process that started it ends, however that ends.

    Without it the rank could wait in a collective for ever.
    """
    if sys.platform != "linux":
        return
    import ctypes

    # 1 is PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def die_with_sweep() -> None:
    """Let the kernel kill this process when the sweep that started it ends, however that ends."""
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return
    die_with_parent()
    if os.getppid() != int(parent):
        # It has ended before the kernel knew.
        os._exit(PREEMPTED)


def _start_helpers() -> None:
    """Start the processes that start workers, while the signals are ignored.

    What is ignored at their start stays ignored in them, and in all that they start.
    """
    resource_tracker.ensure_running()
    forkserver.ensure_running()
