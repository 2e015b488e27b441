"""What the tasks of a job and the ranks of the Trainer must agree on."""

import os
from typing import Any


def check_tasks(nodes: int, devices: Any) -> None:
    """Refuse ranks other than the tasks that srun has started, before any of them waits for the others.

    Args:
        nodes: of the Trainer.
        devices: of the Trainer on each node; where they are not a number or a list, Lightning counts them.

    Raises:
        ValueError: each task would train by itself, or wait for ranks that nobody starts.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    number = (
        len(devices)
        if isinstance(devices, list)
        else int(devices)
        if str(devices).isdigit()
        else None
    )
    if number is None:
        return
    ranks = nodes * number
    if ranks != tasks:
        raise ValueError(
            f"SLURM started {tasks} tasks, but trainer.num_nodes {nodes} x trainer.devices {number} make {ranks}: "
            "make them equal, or let lightning-petl submit set both"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise ValueError(
            f"this job has {tasks} tasks and only one of them runs: start the program with srun"
        )
