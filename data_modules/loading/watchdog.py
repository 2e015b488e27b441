"""Which file each worker process reads at this moment, and an end to a decode that hangs.

Neither an exception nor another thread stops a decoder that hangs inside C code; the
end of its process does.
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

_LONGEST = 4200  # bytes: the longest path that Linux takes (4096), and two numbers
# torch's own words, in both of its forms: "(pid 7) is killed", "(pid(s) 7, 8) exited"
_DEAD_WORKERS = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


class Watchdog:
    """Note the file that each worker reads, and end a worker that hangs on one.

    A worker writes a line into memory that the processes share; it travels to the
    workers with the data set.

    Args:
        num_workers: processes that will write.
        deadline: seconds after which a worker that still reads the same file ends
            itself.
    """

    def __init__(self, num_workers: int, deadline: float) -> None:
        lines = torch.zeros(num_workers, _LONGEST, dtype=torch.uint8)
        self._lines = lines.share_memory_()
        self._deadline = deadline

    @contextmanager
    def file(self, name: str) -> Generator[None]:
        """Note that this worker reads ``name`` while the block runs.

        Outside workers nothing is noted and nothing ends.
        """
        worker = get_worker_info()
        if worker is None:
            yield
            return
        self._write(worker.id, f"{os.getpid()}\t{time.monotonic()}\t{name}")
        # a thread in C, which also runs where the decoder never gives the GIL back
        faulthandler.dump_traceback_later(self._deadline, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._write(worker.id, "")

    def of_dead_workers(self, error: BaseException) -> list[tuple[str, bool]]:
        """Return the files at which the workers ended that torch's ``error`` names.

        Each comes with whether it hung. Torch looks after its workers every five
        seconds, so a worker that was killed in the last seconds before the deadline is
        taken for one that hung.
        """
        match = _DEAD_WORKERS.search(str(error))
        if match is None:
            return []
        pids = match[1].replace(" ", "").split(",")
        now = time.monotonic()
        found = list[tuple[str, bool]]()
        for worker in range(len(self._lines)):
            pid, _, rest = self._read(worker).partition("\t")
            if pid in pids:
                start, _, name = rest.partition("\t")
                found.append((name, now - float(start) >= self._deadline))
        return found

    def _write(self, worker: int, line: str) -> None:
        data = line.encode(ENCODING, ERRORS)[: _LONGEST - 1] + b"\0"
        # torch warns of a buffer that cannot be written to, such as bytes
        signs = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._lines[worker, : len(data)] = signs

    def _read(self, worker: int) -> str:
        line, _, _ = bytes(self._lines[worker].tolist()).partition(b"\0")
        return line.decode(ENCODING, ERRORS)
