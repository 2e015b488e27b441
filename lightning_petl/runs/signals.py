"""A request to stop that comes as a signal: SIGUSR1 before a time limit, SIGTERM at the end of an allocation.

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


class StopRequest:
    """A signal handler that only takes a note, in the process that installed it.

    Attributes:
        received: the signal that came first.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._pid = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid and self.received is None:
            self.received = signal.Signals(number)

    def listen(self) -> None:
        """Become the handler; Lightning puts one of its own before it, which communicates while training does."""
        for number in SIGNALS:
            signal.signal(number, self)

    @staticmethod
    def ignore() -> None:
        """What comes from now on, as a second copy of the signal, must not disturb the saving."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_request(*, kept: bool) -> Generator[StopRequest]:
    """Listen while the block runs.

    Args:
        kept: to the end of the process; else the handlers are given back to whoever had them.
    """
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
            StopRequest.ignore()  # Python takes handlers back as it ends: a late signal would turn success into failure
        else:
            for number, handler in before.items():
                signal.signal(number, handler)


def current_request() -> StopRequest | None:
    """The one that listens in this process."""
    handler = signal.getsignal(signal.SIGUSR1)
    return handler if isinstance(handler, StopRequest) else None


def die_with_parent() -> None:
    """End this rank when the process that started it ends, by whatever way; a collective may wait for ever."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _start_helpers() -> None:
    # Processes that start workers: what is ignored now stays ignored in them, and in all that they start.
    resource_tracker.ensure_running()
    forkserver.ensure_running()
