"""End the ranks of one machine together, and say which one ended first."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

# private in Lightning 2.6, and the only one that knows the processes of the other ranks
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher  # pyright: ignore[reportPrivateUsage]
from typing_extensions import override

# seconds for the other ranks to end by themselves
PATIENCE = 30.0

# seconds: a rank that ends first still closes files and process groups
_CLOSING = 2.0

# the name of the thread by which Lightning 2.6 watches the processes that it started
_OBSERVER = "child-process-observer"

# what gloo (torch 2.13) says in the ranks that are left
_CUT_OFF = re.compile(
    r"connection (closed|reset) by peer|broken pipe", re.IGNORECASE
)


class RankLost(RuntimeError):
    """Say that another rank ended before this one.

    Attributes:
        exit_code: of the program: that of the other rank, 1 where it was killed.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code


class Ranks(Callback):
    """End all ranks within ``PATIENCE`` seconds after one of them ended badly.

    It works on rank 0, where that started the others. Mostly the communication fails at once in all ranks;
    then this says which rank was the reason. Where the communication waits for ever, this ends the program.
    Lightning's own observer would kill rank 0 while it prints or writes a file, and its exit code is always
    that of a kill.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    @override
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        launcher = trainer.strategy.launcher
        if (
            not isinstance(launcher, _SubprocessScriptLauncher)
            or not launcher.procs
            or self._processes
        ):
            return
        self._processes = launcher.procs
        for thread in threading.enumerate():
            if thread.name == _OBSERVER:
                # private in Lightning 2.6: the loop of the thread ends when it is set
                thread._finished = True  # pyright: ignore[reportAttributeAccessIssue]
        threading.Thread(target=self._watch, daemon=True).start()

    @override
    def teardown(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        self._wait()

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, SystemExit):
            self._wait()
            return
        # out of memory is a RuntimeError, but the fault of this rank
        if not isinstance(exception, RuntimeError) or isinstance(
            exception, torch.OutOfMemoryError
        ):
            return
        is_cut_off = _CUT_OFF.search(str(exception)) is not None
        lost = self._lost(wait=PATIENCE if is_cut_off else _CLOSING)
        if lost is None and is_cut_off:
            lost = RankLost(
                f"another rank ended, and its own message says why: {exception}", 1
            )
        if lost is not None:
            raise lost from exception

    def _watch(self) -> None:
        while all(process.returncode is None for process in self._processes):
            time.sleep(0.5)
            lost = self._lost(wait=0.0)
            if lost is not None:
                time.sleep(PATIENCE)
                print(f"lightning-petl: {lost}", file=sys.stderr, flush=True)
                os._exit(lost.exit_code)

    def _lost(self, wait: float) -> RankLost | None:
        """Return which rank ended badly, if one does within ``wait`` seconds."""
        end = time.monotonic() + wait
        while True:
            for rank, process in enumerate(self._processes, start=1):
                code = process.poll()
                if code:
                    text = f"rank {rank} (process {process.pid}) {_how(code)}; the others stop"
                    return RankLost(text, max(code, 1))
            if time.monotonic() >= end or not self._processes:
                return None
            time.sleep(0.05)

    def _wait(self) -> None:
        """Wait for ranks that end as this one does; they would be killed with it."""
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=PATIENCE)


def _how(code: int) -> str:
    """Return how a process ended, from its exit code; Popen negates the number of a signal."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
