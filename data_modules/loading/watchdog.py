"""Which file each worker process reads at this moment, and an end to a decode that hangs.

Neither an exception nor another thread stops a decoder that hangs inside C code; the end of its process does.
"""

import faulthandler
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

from data_modules.io.names import ENCODING, ERRORS

_LONGEST = 4200  # bytes: the longest path that Linux takes, and two numbers
_DEAD_WORKERS = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


class Watchdog:
    """A line a worker, in memory that the processes share; it travels to the workers with the data set.

    Args:
        num_workers: processes that will write.
        deadline: seconds after which a worker that still reads the same file ends itself.
    """

    def __init__(self, num_workers: int, deadline: float) -> None:
        self._lines = torch.zeros(
            num_workers, _LONGEST, dtype=torch.uint8
        ).share_memory_()
        self._deadline = deadline

    @contextmanager
    def file(self, name: str) -> Generator[None]:
        """While the block runs, this worker reads ``name``; outside workers nothing is noted and nothing ends."""
        worker = get_worker_info()
        if worker is None:
            yield
            return
        self._write(worker.id, f"{os.getpid()}\t{time.monotonic()}\t{name}")
        faulthandler.dump_traceback_later(self._deadline, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._write(worker.id, "")

    def of_dead_workers(self, error: BaseException) -> list[tuple[str, bool]]:
        """The files at which the workers ended that torch's ``error`` tells of; each with whether it hung.

        Torch looks after its workers every five seconds, so a worker that was killed in the last seconds before the
        deadline is taken for one that hung.
        """
        match = _DEAD_WORKERS.search(str(error))
        pids = set(match[1].replace(" ", "").split(",")) if match else set[str]()
        lines = [
            self._read(worker).split("\t", 2) for worker in range(len(self._lines))
        ]
        now = time.monotonic()
        return [
            (line[2], now - float(line[1]) >= self._deadline)
            for line in lines
            if line[0] in pids
        ]

    def _write(self, worker: int, line: str) -> None:
        data = line.encode(ENCODING, ERRORS)[: _LONGEST - 1] + b"\0"
        self._lines[worker, : len(data)] = torch.frombuffer(
            bytearray(data), dtype=torch.uint8
        )

    def _read(self, worker: int) -> str:
        return (
            bytes(self._lines[worker].tolist())
            .split(b"\0", 1)[0]
            .decode(ENCODING, ERRORS)
        )
