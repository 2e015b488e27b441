"""SLURM: its programs, its rules, ranks over its nodes, and a job that is preempted."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lightning_petl.doctor.drill import training, waited
from lightning_petl.doctor.finding import Finding
from lightning_petl.doctor.ranks import SEEN, last_line, of_report
from lightning_petl.slurm import cluster

_PROGRAMS = ("sbatch", "srun", "scontrol", "squeue", "scancel")
_RENDEZVOUS = (
    'first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1); '
    "export MASTER_ADDR=$(scontrol show node -o $first | grep -oP ' NodeAddr=\\K\\S+') "
    "MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000))"
)
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")


def programs() -> Iterator[Finding]:
    """SLURM's clients, and partitions that take jobs."""
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    if absent:
        yield Finding(
            "SLURM", "bad", f"not on the PATH: {', '.join(absent)}", "run this on a login node of the cluster"
        )
        return
    for name, fields in cluster.partitions().items():
        told = f"{fields.get('Nodes')}: {fields.get('TotalNodes')} node(s), limit {fields.get('MaxTime')}"
        up = fields.get("State") == "UP"
        yield Finding(f"partition {name}", "good" if up else "bad", told, "" if up else "it takes no jobs")


def rules() -> Iterator[Finding]:
    """What the controller does with jobs that are interrupted."""
    config = dict(re.findall(r"^(\w+)\s*= (.*)$", cluster.call("scontrol", "show", "config"), re.MULTILINE))
    requeue = config.get("JobRequeue") == "1"
    advice = "" if requeue else "lightning-petl submit --chain N queues jobs that go on with the same run"
    yield Finding("requeue", "good" if requeue else "slow", f"JobRequeue = {config.get('JobRequeue')}", advice)
    tracker, wait = config.get("ProctrackType", "?"), config.get("KillWait", "?")
    yield Finding("signals", "good", f"processes are tracked by {tracker}; KillWait {wait}, preemption {_mode(config)}")


def _mode(config: dict[str, str]) -> str:
    return config.get("PreemptMode", "?")


def inside_job() -> Iterator[Finding]:
    """Within a job: one task a device."""
    tasks, gpus = os.environ.get("SLURM_NTASKS_PER_NODE"), os.environ.get("SLURM_GPUS_ON_NODE")
    if os.environ.get("SLURM_JOB_ID") is None:
        return
    per_node = int(re.split(r"[(,]", tasks)[0]) if tasks else 1
    told = f"{per_node} task(s) and {gpus or 'no'} GPU(s) a node"
    right = gpus is None or int(gpus) == per_node
    advice = "" if right else f"--ntasks-per-node={gpus}, or GPUs stay idle"
    yield Finding("tasks", "good" if right else "bad", told, advice)


def nodes(count: int, partition: str | None, shared: Path) -> Iterator[Finding]:
    """One rank on each of so many nodes: they find one another, see one folder, and sum a gradient."""
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        where = [f"--partition={partition}"] if partition else []
        script = f"{_RENDEZVOUS}; exec {shlex.quote(sys.executable)} -m lightning_petl.doctor.ranks"
        command = ["srun", f"--nodes={count}", "--ntasks-per-node=1", "--time=5", *where, "bash", "-c", script]
        environment = os.environ | {SEEN: str(Path(folder).resolve())}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    if done.returncode:
        advice = "NCCL_DEBUG=INFO says more; a firewall may close ports between nodes"
        yield Finding("nodes", "bad", f"srun on {count} node(s): {last_line(done.stderr)}", advice)
    else:
        yield of_report("nodes", done.stdout, count)


def preempted_job(partition: str | None, shared: Path) -> Iterator[Finding]:
    """A submitted training that gets SIGUSR1: it is requeued by itself and goes on."""
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        where = [f"--partition={partition}"] if partition else []
        command = [sys.executable, "-m", "lightning_petl", "submit", "--name=doctor", "--time=10", *where]
        command += [f"--config={training(Path(folder))}", f"--runs={folder}"]
        done = subprocess.run(command, capture_output=True, text=True)
        number = re.search(r"\b(\d+)\b", done.stdout)
        if done.returncode or number is None:
            yield Finding("preempted job", "bad", f"submit: {last_line(done.stderr)}")
            return
        yield _followed(number[1], Path(folder))
        subprocess.run(["scancel", number[1]], capture_output=True)


def _followed(job: str, folder: Path) -> Finding:
    def state() -> str:
        return _fields(job).get("JobState", "GONE")

    if not waited(lambda: any(folder.rglob("*.ckpt")) or state() in _ENDED):
        return Finding("preempted job", "slow", f"job {job} did not start: {_fields(job).get('Reason')}", "try again")
    subprocess.run(["scancel", "--signal=USR1", job], capture_output=True)
    if not waited(lambda: int(_fields(job).get("Restarts", "0")) > 0 or state() in _ENDED):
        return Finding(
            "preempted job", "bad", f"job {job} was not requeued after SIGUSR1", "see its log, docs/slurm.md"
        )
    if state() in _ENDED:
        log = "".join(path.read_text() for path in folder.rglob("log.txt"))
        return Finding("preempted job", "bad", f"job {job} ended as {state()}: {last_line(log)}")
    return Finding("preempted job", "good", f"job {job} wrote a checkpoint at SIGUSR1 and went back into the queue")


def _fields(job: str) -> dict[str, str]:
    return next((fields for fields in cluster.jobs() if fields.get("JobId") == job), {})
