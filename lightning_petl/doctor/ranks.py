"""Processes that compute together: started here or by ``srun``, how fast a gradient goes around.

Each rank runs ``python -m lightning_petl.doctor.ranks``; rank zero prints one line of JSON.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning_petl.doctor.finding import Finding

_GRADIENT = 14_220_288  # numbers: those that ST-Adapter trains of a ViT-B/16
_BYTES = 4 * _GRADIENT
_SLOW = 2**28  # bytes a second: such a gradient would take a fifth of a second
_TIMEOUT = 120  # seconds
SEEN = "LIGHTNING_PETL_DOCTOR_FOLDER"
"""Environment variable: a folder that every rank must see."""
ADVICE = "NCCL_DEBUG=INFO and TORCH_DISTRIBUTED_DEBUG=DETAIL say more; a firewall may close ports between nodes"


def two_processes() -> Iterator[Finding]:
    """Ranks on this machine: one a GPU, or two on CPUs."""
    import torch

    count = max(2, torch.cuda.device_count())
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            SEEN: folder,
        }
        command = [sys.executable, "-m", "lightning_petl.doctor.ranks"]
        ranks = [
            subprocess.Popen(
                command,
                env=environment
                | {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(count),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(count)
        ]
        told = [rank.communicate(timeout=2 * _TIMEOUT) for rank in ranks]
    failed = [number for number, rank in enumerate(ranks) if rank.returncode]
    if failed:
        yield Finding(
            "ranks",
            "bad",
            f"rank {failed[0]} of {count} failed: {last_line(told[failed[0]][1])}",
            ADVICE,
        )
    else:
        yield of_report("ranks", told[0][0], count)


def of_report(
    check: str, printed: str, expected: int, *, cuda: bool = False
) -> Finding:
    """Turn what rank 0 has printed into a line of the report; ``cuda``: whether the ranks were given GPUs."""
    report: dict[str, Any] = json.loads(last_line(printed))
    hosts = report["hosts"]
    names, speed = (
        ", ".join(sorted(set(hosts))),
        f"{_BYTES / 2**20:.0f} MiB summed in {report['seconds'] * 1e3:.0f} ms",
    )
    told = f"{report['ranks']} ranks on {len(set(hosts))} host(s) ({names}) over {report['backend']}: {speed}"
    if report["ranks"] != expected:
        return Finding(
            check,
            "bad",
            told,
            f"{expected} were started: they do not find one another",
        )
    if not all(report["seen"]):
        blind = [
            host
            for host, seen in zip(hosts, report["seen"], strict=True)
            if not seen
        ]
        return Finding(
            check,
            "bad",
            f"{told}; not seen on {', '.join(blind)}: {report['folder']}",
            "use a shared folder",
        )
    if cuda and report["backend"] != "nccl":
        return Finding(
            check,
            "bad",
            f"{told}; torch sees no GPU there",
            "nvidia-smi on a node, and a CUDA build of torch",
        )
    slow = _BYTES / report["seconds"] < _SLOW
    advice = (
        "set NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME to the fast network"
        if slow
        else ""
    )
    return Finding(check, "slow" if slow else "good", told, advice)


def last_line(text: str) -> str:
    """Return the last line that is not empty."""
    return next(
        (line for line in reversed(text.strip().splitlines()) if line.strip()),
        "nothing was printed",
    )


def main() -> int:
    """Run one rank: find the others, see the folder, and sum a gradient."""
    import torch
    import torch.distributed as dist

    where = _where(os.environ)
    cuda = torch.cuda.is_available() and torch.cuda.device_count() > where["local"]
    backend = "nccl" if cuda else "gloo"
    device = torch.device("cuda", where["local"]) if cuda else torch.device("cpu")
    dist.init_process_group(
        backend,
        rank=where["rank"],
        world_size=where["size"],
        timeout=timedelta(seconds=_TIMEOUT),
        init_method="env://",
    )
    folder = os.environ.get(SEEN, "")
    seen = _seen(Path(folder), where["rank"], dist.barrier) if folder else True
    told: list[Any] = [None] * where["size"]
    dist.all_gather_object(
        told, (os.environ.get("SLURMD_NODENAME", socket.gethostname()), seen)
    )
    seconds = _summed_in(torch.ones(_GRADIENT, device=device))
    if where["rank"] == 0:
        hosts, seens = zip(*told, strict=True)
        report = {
            "ranks": where["size"],
            "hosts": hosts,
            "seen": seens,
            "folder": folder,
            "backend": backend,
        }
        print(json.dumps(report | {"seconds": seconds}), flush=True)
    dist.destroy_process_group()
    return 0


def _where(environment: Mapping[str, str]) -> dict[str, int]:
    names = {"rank": "RANK", "local": "LOCAL_RANK", "size": "WORLD_SIZE"}
    if "RANK" not in environment:
        names = {
            "rank": "SLURM_PROCID",
            "local": "SLURM_LOCALID",
            "size": "SLURM_NTASKS",
        }
    return {key: int(environment[name]) for key, name in names.items()}


def _seen(folder: Path, rank: int, barrier: Any) -> bool:
    """Return whether this rank sees the file that rank 0 has written."""
    if rank == 0:
        (folder / "seen-by-all").touch()
    barrier()
    for _ in range(20):  # a network file system may take its time
        if (folder / "seen-by-all").exists():
            return True
        time.sleep(0.5)
    return False


def _summed_in(gradient: Any) -> float:
    """Seconds of the fastest of five sums over all ranks."""
    import torch
    import torch.distributed as dist

    times: list[float] = []
    for _ in range(5):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(gradient)
        if gradient.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
