"""This machine: packages, devices, threads, and the file system that runs are written to."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lightning_petl.doctor.finding import Finding

_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "av",
    "torchmetrics",
    "jsonargparse",
)
_FREE = 5 * 2**30  # bytes; a run writes far less, what else is on the disk may not
_SLOW_SYNC = 0.2  # seconds to write a small file through


def packages() -> Iterator[Finding]:
    """Report the versions of the packages that everything rests on, and whether they fit together."""
    found = {name: _version(name) for name in _PACKAGES}
    absent = [name for name, number in found.items() if number is None]
    told = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    python = f"Python {sys.version.split()[0]}, {told}"
    if absent:
        advice = "pip install -c constraints.txt -e ."
        yield Finding(
            "packages",
            "bad",
            f"{python}; not installed: {', '.join(absent)}",
            advice,
        )
        return
    from lightning_petl import (
        backbones as backbones,
    )  # torchvision in it fails beside a torch of another build

    yield Finding("packages", "good", python)


def devices() -> Iterator[Finding]:
    """GPUs, or why there are none."""
    import torch

    if not torch.cuda.is_available():
        yield _no_gpu(torch.version.cuda)
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        told = f"{torch.cuda.get_device_name(index)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        bf16 = torch.cuda.is_bf16_supported()
        busy = free < total / 2
        advice = (
            "" if bf16 else "no bfloat16 in hardware: --trainer.precision=16-mixed"
        )
        advice = (
            "another process holds its memory: nvidia-smi shows which"
            if busy
            else advice
        )
        yield Finding(
            f"GPU {index}", "slow" if busy or not bf16 else "good", told, advice
        )


def _no_gpu(cuda: str | None) -> Finding:
    driver = shutil.which("nvidia-smi")
    if driver and cuda is None:
        advice = "pip install a CUDA build of the same version; constraints.txt pins both torch and torchvision"
        return Finding(
            "GPU",
            "bad",
            "the machine has a driver, but this torch is built for CPUs",
            advice,
        )
    if cuda and driver:
        return Finding(
            "GPU",
            "bad",
            f"torch for CUDA {cuda} sees no device",
            "nvidia-smi, CUDA_VISIBLE_DEVICES",
        )
    return Finding(
        "GPU", "good", "none; training runs on the CPU", "-c trainer/cpu"
    )


def threads() -> Iterator[Finding]:
    """Report whether more threads are faster here; on some virtual machines they are slower."""
    import torch

    cpus = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
    before = torch.get_num_threads()
    x = torch.randn(1024, 1024)
    seconds = {}
    for count in sorted({1, cpus}):
        torch.set_num_threads(count)
        seconds[count] = min(_seconds(lambda: x @ x) for _ in range(8))
    torch.set_num_threads(before)
    gain = seconds[1] / seconds[cpus]
    told = f"{cpus} CPUs; a matrix product is {gain:.1f} times as fast on {cpus} threads as on one"
    worse = cpus > 1 and gain < 1
    yield Finding(
        "threads",
        "slow" if worse else "good",
        told,
        "set OMP_NUM_THREADS=1" if worse else "",
    )


def file_system(folder: Path) -> Iterator[Finding]:
    """Space, and whether a small file is written, made durable and renamed in time, as each checkpoint is."""
    folder.mkdir(parents=True, exist_ok=True)
    probe, renamed = (
        folder / f".doctor-{os.getpid()}",
        folder / f".doctor-{os.getpid()}-renamed",
    )
    try:
        took = min(
            _seconds(lambda: _write_through(probe, renamed)) for _ in range(3)
        )
    finally:
        for path in (probe, renamed):
            path.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    told = f"{folder.resolve()}: {free / 2**30:.0f} GiB free; a MiB is written through in {took * 1e3:.0f} ms"
    if free < _FREE:
        yield Finding(
            "file system",
            "bad",
            told,
            "free some space, or write elsewhere with --trainer.default_root_dir",
        )
    else:
        slow = took > _SLOW_SYNC
        advice = (
            "write runs to a faster disk, and data ingest --shards for many small files"
            if slow
            else ""
        )
        yield Finding("file system", "slow" if slow else "good", told, advice)


def _write_through(path: Path, renamed: Path) -> None:
    with path.open("wb") as file:
        file.write(b"\0" * 2**20)
        file.flush()
        os.fsync(file.fileno())
    path.replace(renamed)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
