"""Run command lines in processes of their own, several side by side, and pass requests to stop on to them."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lightning_petl.runs.signals import PARENT, PREEMPTED
from lightning_petl.sweep.status import CallStatus
from lightning_petl.sweep.stopping import SweepStop

# seconds between two looks at the processes
_POLL = 0.1
# A command that stops by itself with code 75 goes on when it is called again. `fit` ends
# that where it comes no further, and this ends it for the others.
_MOST_RESTARTS = 20
# what a process ends with that was asked to stop before it could listen, or is killed
_STOPPED = (PREEMPTED, 130, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL)
_TAIL = 1 << 14


@dataclass(frozen=True, kw_only=True)
class CommandCall:
    """Hold one command line that is run in a process.

    Attributes:
        name: for the screen.
        program: what is started, with its options.
        log: what the process prints is added to this file.
        progress: a file whose last line tells how far the process is, if there is one.
    """

    name: str
    program: Sequence[str]
    log: Path
    progress: Path | None = None


Watcher = Callable[[CommandCall, CallStatus], None]
"""Called when the status of a call has changed."""


class CallRunner:
    """Run calls, as many at a time as there are slots.

    Args:
        slots: variables of the processes that run side by side.
        environment: variables of all of them.
        stop: asked for by the user or the machine.
        changed: called with each change of a status.
        tick: called ten times a second while something runs.
    """

    def __init__(
        self,
        slots: Sequence[Mapping[str, str]],
        environment: Mapping[str, str],
        stop: SweepStop,
        changed: Watcher,
        tick: Callable[[], None],
    ) -> None:
        self._free = deque(slots)
        self._environment = environment
        self._stop = stop
        self._changed = changed
        self._tick = tick
        self._running: list[_Running] = []

    def run(self, calls: Sequence[tuple[CommandCall, CallStatus]]) -> None:
        """Run the calls in order; return when all have ended, or those that ran were stopped."""
        waiting = deque(calls)
        try:
            while self._running or (waiting and not self._stop.wanted):
                # A request may come between two starts.
                while waiting and self._free and not self._stop.wanted:
                    self._start(*waiting.popleft())
                self._pass_on()
                for running in list(self._running):
                    code = running.process.poll()
                    if code is not None:
                        self._ended(running, code)
                self._tick()
                time.sleep(_POLL)
        finally:
            # An error of the sweep's own must leave nothing behind that trains.
            for running in self._running:
                _kill(running.process)

    def _start(self, call: CommandCall, status: CallStatus) -> None:
        slot = self._free.popleft()
        variables = {**self._environment, **slot, PARENT: str(os.getpid())}
        call.log.parent.mkdir(parents=True, exist_ok=True)
        running = _Running(call, status, slot, variables)
        self._running.append(running)
        status.state = "running"
        status.why = ""
        self._changed(call, status)

    def _pass_on(self) -> None:
        """Ask the processes to stop, once; kill them where the user is in a hurry."""
        if not self._stop.wanted:
            return
        for running in self._running:
            if self._stop.at_once:
                _kill(running.process)
            elif not running.asked:
                running.asked = True
                running.process.send_signal(signal.SIGTERM)

    def _ended(self, running: "_Running", code: int) -> None:
        self._running.remove(running)
        self._free.append(running.slot)
        status = running.status
        status.seconds += time.monotonic() - running.began
        if code == 0:
            status.state = "done"
            status.failures = 0
        elif self._stop.wanted and code in _STOPPED:
            status.state = "interrupted"
        elif code == PREEMPTED and running.restarts < _MOST_RESTARTS:
            # It has lost a worker of its loader, and the same command goes on.
            self._restart(running)
            return
        else:
            status.state = "failed"
            status.failures += 1
            status.why = _why(running.call.log, code)
        self._changed(running.call, status)

    def _restart(self, running: "_Running") -> None:
        self._free.remove(running.slot)
        again = _Running(
            running.call, running.status, running.slot, running.variables
        )
        # Counted over all processes of this call.
        again.restarts = running.restarts + 1
        self._running.append(again)


class _Running:
    """Hold a process that runs; it is started here."""

    def __init__(
        self,
        call: CommandCall,
        status: CallStatus,
        slot: Mapping[str, str],
        variables: Mapping[str, str],
    ) -> None:
        self.call = call
        self.status = status
        self.slot = slot
        self.variables = variables
        self.asked = False
        self.restarts = 0
        self.began = time.monotonic()
        with call.log.open("ab") as log:
            self.process = subprocess.Popen(
                call.program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                # Ctrl-C of a terminal goes to its whole group, and would end trainings
                # before they have saved anything.
                start_new_session=True,
            )


def program(argv: Sequence[str]) -> list[str]:
    """Return what starts a command line of this program in a process."""
    # -P: a file of the user's in the current folder must not hide a module.
    return [sys.executable, "-P", "-m", "lightning_petl", *argv]


def last_line(file: Path) -> str:
    """Return the last line of a file that is not empty; nothing where there is none."""
    try:
        with file.open("rb") as text:
            size = text.seek(0, os.SEEK_END)
            text.seek(max(0, size - _TAIL))
            lines = text.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        if line.strip():
            return line.strip()
    return ""


def _why(log: Path, code: int) -> str:
    line = last_line(log).removeprefix("lightning-petl: ")
    if code < 0:
        # The log of a process that was killed says nothing of it.
        return f"ended by {signal.Signals(-code).name}, after: {line}"
    return line or f"exit code {code}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
