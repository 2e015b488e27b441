"""Check SLURM: its programs, the partition for jobs, its nodes, and its rules for interrupted jobs."""

import os
import re
import shutil
from collections.abc import Iterator

from lightning_petl.doctor.finding import Finding
from lightning_petl.slurm import cluster

_PROGRAMS = ("sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")

# beginnings of the states, as sinfo writes them, in which a node takes no jobs
_LOST = ("down", "drain", "fail", "maint", "reboot", "unknown", "error")


def overview(partition: str | None, count: int) -> Iterator[Finding]:
    """Check SLURM's clients, and that a partition has ``count`` nodes for a job."""
    if absent := _absent():
        told = f"not on the PATH: {', '.join(absent)}"
        yield Finding(
            "SLURM", "bad", told, "run this on a login node of the cluster"
        )
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
    # name, state, devices and the reason of the state, which may hold any character
    fields = "%N|%T|%G|%E"
    lines = cluster.call("sinfo", "-h", "-N", "-p", partition, "-o", fields)
    nodes = 0
    lost: list[str] = []
    devices: set[str] = set()
    for line in lines.splitlines():
        name, state, gres, reason = line.split("|", 3)
        nodes += 1
        devices.add(gres)
        if _is_lost(state):
            lost.append(f"{name} is {state} ({reason.strip()})")
    devices.discard("(null)")
    kinds = ", ".join(sorted(devices)) or "no GPUs"
    told = f"{nodes} node(s) with {kinds}, time limit {limit}"
    if lost:
        more = ", ..." if len(lost) > 3 else ""
        told += f"; {len(lost)} take(s) no jobs: {', '.join(lost[:3])}{more}"
    check = f"partition {partition}"
    if nodes - len(lost) < count:
        advice = f"{count} are asked for: take fewer with --nodes, or tell who runs the cluster"
        return Finding(check, "bad", told, advice)
    return Finding(check, "slow" if lost else "good", told)


def _is_lost(state: str) -> bool:
    # sinfo appends * where the controller does not reach the node
    return state.startswith(_LOST) or state.endswith("*")


def rules() -> Iterator[Finding]:
    """Tell what the controller does with jobs that are interrupted."""
    text = cluster.call("scontrol", "show", "config")
    config = dict(re.findall(r"^(\w+)\s*= (.*)$", text, re.MULTILINE))
    told = f"JobRequeue = {config.get('JobRequeue')}"
    if config.get("JobRequeue") == "1":
        yield Finding("requeue", "good", told)
    else:
        advice = "lightning-petl submit --chain N queues jobs that go on with the same run"
        yield Finding("requeue", "slow", told, advice)
    tracker = config.get("ProctrackType", "?")
    wait = config.get("KillWait", "?")
    mode = config.get("PreemptMode", "?")
    told = f"processes are tracked by {tracker}; KillWait {wait}, preemption {mode}"
    yield Finding("signals", "good", told)


def inside_job() -> Iterator[Finding]:
    """Check inside a job that there is one task a device."""
    if os.environ.get("SLURM_JOB_ID") is None:
        return
    tasks = os.environ.get("SLURM_NTASKS_PER_NODE")
    gpus = os.environ.get("SLURM_GPUS_ON_NODE")
    # it may read 4(x2),3: four tasks on two nodes, three on another
    per_node = int(re.split(r"[(,]", tasks)[0]) if tasks else 1
    told = f"{per_node} task(s) and {gpus or 'no'} GPU(s) a node"
    right = gpus is None or int(gpus) == per_node
    advice = "" if right else f"--ntasks-per-node={gpus}, or GPUs stay idle"
    yield Finding("tasks", "good" if right else "bad", told, advice)
