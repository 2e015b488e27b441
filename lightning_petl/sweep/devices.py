"""Divide processors and GPUs among trainings that run side by side."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

THREADS = "OMP_NUM_THREADS"
VISIBLE = "CUDA_VISIBLE_DEVICES"


def environments(
    jobs: int,
    *,
    processors: int,
    gpus: Sequence[str],
    given: Mapping[str, str],
) -> list[dict[str, str]]:
    """Return the variables of each of ``jobs`` processes that run side by side.

    One job has all that there is. Else each has its share of the processors as threads, and
    GPUs of its own; with more jobs than GPUs, several share one::

        4 jobs, 8 processors, GPUs 0 1     2 threads each; GPU 0, 1, 0, 1
        2 jobs, 8 processors, GPUs 0 1 2   4 threads each; GPU 0, 1

    Args:
        jobs: number of processes.
        processors: of this machine.
        gpus: as ``CUDA_VISIBLE_DEVICES`` names them; none where the trainings use no GPU.
        given: variables of this process; a number of threads there is kept.
    """
    if jobs == 1:
        return [{}]
    found: list[dict[str, str]] = []
    share = max(1, len(gpus) // jobs)
    for number in range(jobs):
        variables: dict[str, str] = {}
        if THREADS not in given:
            variables[THREADS] = str(max(1, processors // jobs))
        # One GPU alone is shared without being named.
        if len(gpus) > 1:
            first = number * share % len(gpus)
            variables[VISIBLE] = ",".join(gpus[first : first + share])
        found.append(variables)
    return found


def visible_gpus(given: Mapping[str, str]) -> list[str]:
    """Return the GPUs of this machine that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if VISIBLE in given:
        names = given[VISIBLE].split(",")
        return [name.strip() for name in names if name.strip()]
    try:
        # Without torch, which takes seconds to import and a context on a GPU.
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    gpus: list[str] = []
    for line in listed.stdout.splitlines():
        # Parts of a GPU are listed below it, with an indentation.
        if line.startswith("GPU "):
            gpus.append(str(len(gpus)))
    return gpus


def slots(jobs: int, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the variables of each process that runs side by side with others on this machine.

    Args:
        jobs: number of processes.
        configs: the whole configuration of each training.

    Raises:
        ValueError: a training asks for more GPUs than its share.
    """
    accelerators: set[str] = set()
    for config in configs:
        accelerators.add(config["trainer"]["accelerator"])
    gpus = [] if accelerators == {"cpu"} else visible_gpus(os.environ)
    # The processors that this process may use, which may be fewer than the machine has.
    processors = len(os.sched_getaffinity(0))
    found = environments(jobs, processors=processors, gpus=gpus, given=os.environ)
    share = found[0].get(VISIBLE)
    if share is not None:
        _require_devices(configs, len(share.split(",")), jobs, len(gpus))
    return found


def _require_devices(
    configs: Sequence[Mapping[str, Any]], share: int, jobs: int, gpus: int
) -> None:
    for config in configs:
        devices = str(config["trainer"]["devices"])
        if devices.isdecimal() and int(devices) > share:
            raise ValueError(
                f"jobs: {jobs} jobs on {gpus} GPUs have {share} GPU(s) each, but "
                f"the configuration asks for trainer.devices={devices}; give fewer --jobs"
            )
