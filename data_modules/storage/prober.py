"""Do work that may hang or crash, above all to probe a video, in processes that can be killed.

A decode that hangs inside C code cannot be stopped from within its process: not by a thread, not by an exception.
So each process is given one item at a time. One that gives no answer in time is killed, and like one that dies it is
replaced. Libraries are loaded once, in the server that the processes are forked from.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from data_modules.video.decode import VideoInfo, open_video

Item = TypeVar("Item")
Result = TypeVar("Result")
Failure = Literal["raised", "died", "hung"]

# Not fork, which copies locks that threads hold: a fork server has no threads.
_FORKED = get_context("forkserver")
_START = 300.0  # seconds: a first import from a slow network disk


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """Hold what came of one item: a result, or the reason why there is none.

    Attributes:
        item: what was asked.
        result: None where there is a failure.
        failure: ``raised`` an exception, ``died`` with its process, or ``hung``, no answer in time; None with a result.
        reason: of the failure, one sentence.
    """

    item: Item
    result: Result | None
    failure: Failure | None = None
    reason: str = ""


def probe(path: Path) -> VideoInfo:
    """Return what a file holds, after decoding every frame of it once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no video, or damaged.
    """
    with open_video(path) as video:
        video.check()
        return video.info()


def outcomes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    timeout: int | float,
) -> Iterator[Outcome[Item, Result]]:
    """Yield what ``function`` makes of each item, in the order in which they finish.

    Nothing that the function does can stop or end this process.

        items     0 1 2 3 4 5
        worker 0  |--0--|---3---|-5-|
        worker 1  |-1-| |---4---|              outcomes: 1 0 2 4 3 5
        worker 2  |---2---|

    Args:
        function: importable by name, with arguments and results that can be pickled.
        items: taken as processes become free.
        workers: processes at work at a time.
        timeout: seconds for one item.

    Raises:
        ValueError: no worker or no time.
    """
    if workers < 1 or timeout <= 0:
        raise ValueError(
            f"workers={workers}, timeout={timeout}: one "
            "worker at least, and more than 0 seconds"
        )
    waiting = iter(items)
    idle = [_Worker(function, timeout) for _ in range(workers)]
    busy: list[_Worker[Any, Any]] = []
    try:
        while True:
            # Workers first: ``zip`` ends before it takes an item that has no worker.
            for worker, item in zip(tuple(idle), waiting):  # noqa: B905
                worker.ask(item)
                idle.remove(worker)
                busy.append(worker)
            if not busy:
                return
            for worker in _finished(busy):
                busy.remove(worker)
                idle.append(worker)
                yield worker.outcome()
    finally:
        for worker in idle + busy:
            worker.kill()


class _Worker(Generic[Item, Result]):
    """Hold a process, started when it is first needed and again after each time it was lost."""

    def __init__(
        self, function: Callable[[Item], Result], timeout: int | float
    ) -> None:
        self._function = function
        self._timeout = timeout
        self._process: Any = None

    def ask(self, item: Item) -> None:
        if self._process is None or not self._process.is_alive():
            self._start()
        self._item = item
        self.deadline = time.monotonic() + self._timeout
        with suppress(OSError):  # it died just now: so the outcome will say
            self.connection.send(item)

    def outcome(self) -> Outcome[Item, Result]:
        """Return what came of the last item; to be called when the connection is ready or the deadline has passed."""
        if not self.connection.poll():
            self.kill()
            return Outcome(
                self._item, None, "hung", f"no answer in {self._timeout:g} s"
            )
        try:
            return Outcome(self._item, *self.connection.recv())
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            self.kill()
            return Outcome(self._item, None, "died", _death(code))

    def kill(self) -> None:
        if self._process is not None:
            # Not joined: what waits for a dead disk cannot even be killed.
            self._process.kill()
            self.connection.close()
            self._process = None

    def _start(self) -> None:
        self.kill()
        _FORKED.set_forkserver_preload([self._function.__module__])
        self.connection, theirs = _FORKED.Pipe()
        self._process = _FORKED.Process(
            target=_serve, args=(self._function, theirs, self._timeout), daemon=True
        )
        self._process.start()
        theirs.close()
        if not self.connection.poll(_START) or self.connection.recv() != "ready":
            raise TimeoutError(f"a probe process did not start in {_START:g} s")


def _finished(busy: list["_Worker[Any, Any]"]) -> list["_Worker[Any, Any]"]:
    """Wait until one of them has answered, died or run out of time, and return all that have."""
    left = min(worker.deadline for worker in busy) - time.monotonic()
    ready = wait([worker.connection for worker in busy], max(left, 0))
    now = time.monotonic()
    return [
        worker
        for worker in busy
        if worker.connection in ready or worker.deadline <= now
    ]


def _serve(
    function: Callable[[Any], Any], connection: Connection, timeout: int | float
) -> None:
    # Ctrl-C reaches all processes; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send("ready")
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        # Ends a process that hangs after its parent has gone.
        signal.setitimer(signal.ITIMER_REAL, timeout + 60)
        try:
            connection.send((function(item),))
        except Exception as error:
            connection.send((None, "raised", _told(error)))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _told(error: Exception) -> str:
    # These say in a sentence what is wrong; of others the name tells as much as the text.
    if isinstance(error, ValueError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process ended with exit code {code}"
    return f"crashed with signal {-code} ({signal.Signals(-code).name})"
