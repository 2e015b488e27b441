"""A loader's workers end with their main process, although they ignore the signal that usually ends them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys
import data_modules
from data_modules.loading.loader import _options
from torch.utils.data import DataLoader
if __name__ == "__main__":
    batches = sys.modules["kept"] = iter(DataLoader(range(1000), **_options(2)))
    next(batches)
    print(*(worker.pid for worker in batches._workers), flush=True)
    if sys.argv[1] == "error":
        raise RuntimeError("ends with workers that run")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("way", "code"), [("error", 1), ("kill", -9)])
def test_workers_end_with_the_main_process(
    way: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "program.py"), way]
    with (tmp_path / "out").open("w") as output:
        done = subprocess.run(command, stdout=output, stderr=output, timeout=120)
    assert done.returncode == code
    workers = [
        Path("/proc", pid)
        for pid in (tmp_path / "out").read_text().splitlines()[0].split()
    ]
    assert len(workers) == 2
    end = time.monotonic() + 30
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() < end, "a worker goes on"
        time.sleep(0.2)


def _runs(process: Path) -> bool:
    try:
        return (
            "Z" not in (process / "stat").read_text().rpartition(")")[2].split()[0]
        )
    except FileNotFoundError:
        return False
