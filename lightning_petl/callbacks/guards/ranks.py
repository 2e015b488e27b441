"""Ends the ranks of one machine together, and says which one went first."""

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
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher  # pyright: ignore[reportPrivateUsage]
from typing_extensions import override

PATIENCE = 30.0  # seconds for the other ranks to end by themselves
_LIGHTNING = "child-process-observer"
_CUT_OFF = re.compile(
    r"connection (closed|reset) by peer|broken pipe", re.IGNORECASE
)  # of gloo


class RankLost(RuntimeError):
    """Another rank ended before this one.

    Attributes:
        exit_code: of the program: what the other rank gave, 1 where it was killed.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code


class Ranks(Callback):
    """On rank zero, where it started the others: a rank that ends takes the rest with it, within ``PATIENCE``.

    Mostly the communication fails at once, in all of them; then this tells why. Where it waits for ever, this ends the
    program. Lightning's own watch would kill rank zero in the middle of what it is told or writes, and gives
    no other exit code than that of a kill.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        launcher = trainer.strategy.launcher
        if (
            not isinstance(launcher, _SubprocessScriptLauncher)
            or not launcher.procs
            or self._processes
        ):
            return
        self._processes = launcher.procs
        for thread in threading.enumerate():
            if thread.name == _LIGHTNING:
                thread._finished = True  # pyright: ignore[reportAttributeAccessIssue]  # its loop asks for it
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
        elif isinstance(exception, RuntimeError) and not isinstance(
            exception, torch.OutOfMemoryError
        ):
            is_cut_off = _CUT_OFF.search(str(exception)) is not None
            lost = self._lost(
                wait=PATIENCE if is_cut_off else 2.0
            )  # a rank that ends first tidies up
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
        """Which rank ended badly, if one does within ``wait`` seconds."""
        end = time.monotonic() + wait
        while True:
            for rank, process in enumerate(self._processes, start=1):
                code = process.poll()
                if code:
                    how = (
                        f"was ended by {signal.Signals(-code).name}"
                        if code < 0
                        else f"ended with exit code {code}"
                    )
                    return RankLost(
                        f"rank {rank} (process {process.pid}) {how}; the others stop",
                        max(code, 1),
                    )
            if time.monotonic() >= end or not self._processes:
                return None
            time.sleep(0.05)

    def _wait(self) -> None:
        """For ranks that end as this one does; they die with it."""
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=PATIENCE)
