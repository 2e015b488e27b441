"""Compare the tasks that SLURM started with the ranks that the Trainer expects."""

import os
from typing import Any


def check_tasks(nodes: int, devices: Any) -> None:
    """Refuse a number of ranks that srun has not started, before any rank waits for the others.

    One task is one rank. 2 nodes x 4 devices need 8 tasks::

        node 0: ranks 0 1 2 3        node 1: ranks 4 5 6 7

    Args:
        nodes: of the Trainer.
        devices: of the Trainer, on each node. Where it is neither a number nor a list, as ``auto``,
            Lightning counts them, and nothing is compared.

    Raises:
        ValueError: each task would train by itself, or wait for ranks that nobody starts.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if isinstance(devices, list):
        number = len(devices)
    elif str(devices).isdigit():
        number = int(devices)
    else:
        return
    ranks = nodes * number
    if ranks != tasks:
        raise ValueError(
            f"SLURM started {tasks} tasks, but trainer.num_nodes {nodes} x trainer.devices {number} make {ranks}: "
            "make them equal, or let lightning-petl submit set both"
        )
    # in the batch script itself, outside of srun, SLURM_NTASKS is set but no other task runs
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise ValueError(
            f"this job has {tasks} tasks and only one of them runs: start the program with srun"
        )
