"""What only nodes can tell: a compute node by itself, ranks over several, and a training job that is preempted."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning_petl.doctor.drill import training, waited
from lightning_petl.doctor.finding import Finding
from lightning_petl.doctor.ranks import ADVICE, SEEN, last_line, of_report
from lightning_petl.slurm import cluster
from lightning_petl.slurm.script import LOG

_FREE_WITHIN = 120  # seconds that nodes are waited for
_RENDEZVOUS = (
    'first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1); '
    "export MASTER_ADDR=$(scontrol show node -o $first | grep -oP ' NodeAddr=\\K\\S+') "
    "MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000)); "
)
_ENDED = {
    "COMPLETED",
    "GONE",
    *cluster.FAILED,
}  # GONE: the controller has forgotten it


def options(partition: str | None, gpus: int) -> Sequence[str]:
    """Return the options of srun that say where a step runs."""
    return [f"--partition={partition}"] * bool(partition) + [
        f"--gres=gpu:{gpus}"
    ] * bool(gpus)


def one_node(where: Sequence[str], shared: Path) -> Iterator[Finding]:
    """Check a compute node: its devices, threads and decode rate are not those of a login node."""
    command = [
        sys.executable,
        "-m",
        "lightning_petl",
        "doctor",
        "--quick",
        "--json",
        f"--runs={shared}",
    ]
    done = _srun(
        [*where, "--nodes=1", "--ntasks=1"],
        f'echo "$SLURMD_NODENAME"; {shlex.join(command)}',
    )
    name, *lines = done.stdout.splitlines() or [""]
    if not lines:
        yield _no_step("node", done.stderr)
    for line in lines:
        finding = Finding(**json.loads(line))
        yield finding._replace(check=f"{finding.check} on {name}")


def nodes(
    count: int, gpus: int, where: Sequence[str], shared: Path
) -> Iterator[Finding]:
    """Run one rank a GPU, or a node, on several nodes: they find one another, see one folder, sum a gradient."""
    per_node = gpus or 1
    command = shlex.join([sys.executable, "-m", "lightning_petl.doctor.ranks"])
    with _inside(shared) as folder:
        tasks = [f"--nodes={count}", f"--ntasks-per-node={per_node}"]
        done = _srun([*where, *tasks], _RENDEZVOUS + command, **{SEEN: str(folder)})
    if done.returncode:
        yield _no_step("nodes", done.stderr)
    else:
        yield of_report("nodes", done.stdout, count * per_node, cuda=gpus > 0)


def preempted_job(partition: str | None, shared: Path) -> Iterator[Finding]:
    """Submit a training and send it SIGUSR1: it must requeue itself and go on behind its checkpoint."""
    with _inside(shared) as folder:
        command = [
            sys.executable,
            "-m",
            "lightning_petl",
            "submit",
            "--name=doctor",
            "--time=10",
        ]
        command += [
            *options(partition, 0),
            f"--config={training(folder)}",
            f"--runs={folder}",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        number = re.match(r"submitted (\d+) ", done.stdout)
        if number is None:
            yield Finding(
                "preempted job", "bad", f"submit: {last_line(done.stderr)}"
            )
            return
        try:
            yield _followed(number[1], folder)
        finally:
            subprocess.run(["scancel", number[1]], capture_output=True)
            waited(
                lambda: _state(number[1]) in _ENDED
            )  # until then it writes to the folder


def _followed(job: str, folder: Path) -> Finding:
    """Yield the stages that a preempted job goes through, up to the first that does not come."""
    if not _comes(job, lambda: any(folder.rglob("*.ckpt"))):
        return _not_come(job, folder, "wrote no checkpoint")
    subprocess.run(["scancel", "--signal=USR1", job], capture_output=True)
    if not _comes(job, lambda: int(_fields(job).get("Restarts", "0")) > 0):
        return _not_come(job, folder, "was not requeued after SIGUSR1")
    if not _comes(job, lambda: len(_starts(folder)) > 1):
        return _not_come(job, folder, "was requeued, but has not started again")
    if _starts(folder)[-1] == 0:
        return _not_come(job, folder, "was requeued, but began anew")
    told = f"job {job} wrote a checkpoint at SIGUSR1, was requeued, and went on at update {_starts(folder)[-1]}"
    return Finding("preempted job", "good", told)


def _comes(job: str, stage: Callable[[], bool]) -> bool:
    waited(lambda: stage() or _state(job) in _ENDED)
    return stage()


def _not_come(job: str, folder: Path, told: str) -> Finding:
    state = _state(job)
    log = "".join(path.read_text(errors="replace") for path in folder.rglob(LOG))
    told = f"job {job} {told}; it is {state} ({_fields(job).get('Reason')}); its log ends: {last_line(log)}"
    waits = state == "PENDING"
    return Finding(
        "preempted job",
        "slow" if waits else "bad",
        told,
        "try again" if waits else "docs/slurm.md",
    )


def _starts(folder: Path) -> list[int]:
    """Return the updates at which training has started."""
    return [
        step
        for path in folder.rglob("run.json")
        for step in json.loads(path.read_text())["starts"]
    ]


def _state(job: str) -> str:
    return _fields(job).get("JobState", "GONE")


def _fields(job: str) -> dict[str, str]:
    return next(
        (fields for fields in cluster.jobs() if fields.get("JobId") == job), {}
    )


@contextmanager
def _inside(shared: Path) -> Generator[Path]:
    """Make a folder where runs are written, and remove it at the end."""
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shared, prefix="doctor-") as folder:
        yield Path(folder).absolute()


def _srun(
    where: Sequence[str], script: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    script += " || { code=$?; sleep 1; exit $code; }"  # the end of a task may overtake its last words
    command = [
        "srun",
        *where,
        "--job-name=doctor",
        "--time=5",
        f"--immediate={_FREE_WITHIN}",
        "--kill-on-bad-exit=1",
    ]
    return subprocess.run(
        [*command, "bash", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def _no_step(check: str, stderr: str) -> Finding:
    """Why there was no result: what a task said, else what srun did."""
    lines = [
        line
        for line in stderr.splitlines()
        if line.strip() and "queued and waiting" not in line
    ]
    tasks = [
        line for line in lines if not line.startswith(("srun: ", "slurmstepd"))
    ]
    told = (
        tasks[-1]
        if tasks
        else "; ".join(
            line.removeprefix("srun: ").removeprefix("error: ") for line in lines
        )
    )
    if "Requested nodes are busy" in stderr:
        return Finding(
            check,
            "slow",
            f"not seen: {told}",
            f"no free nodes within {_FREE_WITHIN} s; squeue shows who waits",
        )
    return Finding(check, "bad", told, ADVICE if tasks else "")
