"""SLURM: its programs, the partition that jobs would go to, its nodes, and its rules for what is interrupted."""

import os
import re
import shutil
from collections.abc import Iterator

from lightning_petl.doctor.finding import Finding
from lightning_petl.slurm import cluster

_PROGRAMS = ("sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")
_LOST = ("down", "drain", "fail", "maint", "reboot", "unknown", "error")


def overview(partition: str | None, count: int) -> Iterator[Finding]:
    """SLURM's clients, and a partition that has ``count`` nodes for a job."""
    if absent := _absent():
        told = f"not on the PATH: {', '.join(absent)}"
        yield Finding("SLURM", "bad", told, "run this on a login node of the cluster")
        return
    name, fields = cluster.chosen_partition(partition)
    if fields.get("State") != "UP":
        yield Finding(
            f"partition {name}",
            "bad",
            f"it is {fields.get('State')} and starts no jobs",
            "take another --partition",
        )
        return
    yield _nodes_of(name, fields.get("MaxTime", "?"), count)


def _absent() -> list[str]:
    return [name for name in _PROGRAMS if shutil.which(name) is None]


def _nodes_of(partition: str, limit: str, count: int) -> Finding:
    lines = cluster.call(
        "sinfo", "-h", "-N", "-p", partition, "-o", "%N|%T|%G|%E"
    ).splitlines()
    nodes = [line.split("|", 3) for line in lines]
    lost = [
        f"{name} is {state} ({reason.strip()})"
        for name, state, _, reason in nodes
        if _is_lost(state)
    ]
    devices = sorted({gres for _, _, gres, _ in nodes} - {"(null)"})
    told = f"{len(nodes)} node(s) with {', '.join(devices) or 'no GPUs'}, time limit {limit}"
    if lost:
        told += f"; {len(lost)} take(s) no jobs: {', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}"
    enough = len(nodes) - len(lost) >= count
    advice = (
        ""
        if enough
        else f"{count} are asked for: take fewer with --nodes, or tell who runs the cluster"
    )
    return Finding(
        f"partition {partition}",
        "bad" if not enough else "slow" if lost else "good",
        told,
        advice,
    )


def _is_lost(state: str) -> bool:
    return state.startswith(_LOST) or state.endswith(
        "*"
    )  # *: the controller does not reach it


def rules() -> Iterator[Finding]:
    """What the controller does with jobs that are interrupted."""
    config = dict(
        re.findall(
            r"^(\w+)\s*= (.*)$",
            cluster.call("scontrol", "show", "config"),
            re.MULTILINE,
        )
    )
    requeue = config.get("JobRequeue") == "1"
    advice = (
        ""
        if requeue
        else "lightning-petl submit --chain N queues jobs that go on with the same run"
    )
    yield Finding(
        "requeue",
        "good" if requeue else "slow",
        f"JobRequeue = {config.get('JobRequeue')}",
        advice,
    )
    tracker, wait, mode = (
        config.get(name, "?") for name in ("ProctrackType", "KillWait", "PreemptMode")
    )
    yield Finding(
        "signals",
        "good",
        f"processes are tracked by {tracker}; KillWait {wait}, preemption {mode}",
    )


def inside_job() -> Iterator[Finding]:
    """Within a job: one task a device."""
    tasks, gpus = (
        os.environ.get("SLURM_NTASKS_PER_NODE"),
        os.environ.get("SLURM_GPUS_ON_NODE"),
    )
    if os.environ.get("SLURM_JOB_ID") is None:
        return
    per_node = int(re.split(r"[(,]", tasks)[0]) if tasks else 1
    told = f"{per_node} task(s) and {gpus or 'no'} GPU(s) a node"
    right = gpus is None or int(gpus) == per_node
    advice = "" if right else f"--ntasks-per-node={gpus}, or GPUs stay idle"
    yield Finding("tasks", "good" if right else "bad", told, advice)
