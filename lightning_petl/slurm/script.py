"""The batch script of a submission."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from lightning_petl.slurm.request import Request

FROZEN = "submitted.yaml"  # the whole configuration of a run, in its folder
LOG = "log.txt"

_BODY = """
export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-1}}  # the loader's workers are processes
{setup}
run={run}
echo "start $((SLURM_RESTART_COUNT + 1)) of job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, $(date --iso-8601=seconds)"
# what SLURM itself reaches the first node by
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR=$(scontrol show node -o "$first" | grep -oP ' NodeAddr=\\K\\S+')

# A port for each step, below the system's own range: two steps of a job may run side by side.
# exec: where signals reach the direct task only, that must be Python. A signal that comes before Python has its
# handler must not end the task: it would leave without a checkpoint.
srun {srun} bash -c '
  trap "" USR1
  export MASTER_PORT=$((10000 + SLURM_JOB_ID % 2200 * 10 + SLURM_STEP_ID % 10))
  exec "$@"' task {command} -c "$run/{frozen}"
rc=$?
{requeue}
exit $rc
"""

_REQUEUE = f"""
# 75: interrupted, a checkpoint is written, or a loader's worker is lost. 137, 143: a task was killed or terminated, as
# SLURM may when it tidies up a node that was lost and is back. What the kernel ended for its memory in this start would
# be ended again. Where a node is lost SLURM requeues by itself, but it may notice only after srun has given up. Nothing
# else goes back: a wrong value (2) or an error (1) would only come again, and scancel is meant to end.
state=$(squeue -h -j "$SLURM_JOB_ID" -o %T)
this_start() {{ tac "$run/{LOG}" | sed "/^start [0-9]* of job $SLURM_JOB_ID /q"; }}
node_lost() {{ sinfo -h -N -n "$SLURM_JOB_NODELIST" -o %T | grep -qE '^down|\\*$'; }}
case $rc:$state in
  0:* | 2:*) ;;
  75:RUNNING | 137:RUNNING | 143:RUNNING)
    grep -qiE 'oom.?kill|out of memory' <(this_start) || scontrol requeue "$SLURM_JOB_ID" ;;
  *:RUNNING) node_lost && scontrol requeue "$SLURM_JOB_ID" ;;
esac
"""


def script(
    request: Request, folder: Path, *, array: int, after: str | None = None
) -> str:
    """Return the text for sbatch.

    Args:
        request: what is asked for; ``cpus_per_task`` is given.
        folder: of the submission, absolute; holds ``code`` and the runs.
        array: number of runs; their folders are ``0``, ``1``, ... in ``folder``. 0: ``folder`` is the run's.
        after: condition on other jobs in sbatch's form.
    """
    directives = "\n".join(
        f"#SBATCH {option}" for option in _options(request, folder, array, after)
    )
    launch = request.launch
    command = [
        *shlex.split(launch.container),
        launch.python,
        "-P",
        "-m",
        "lightning_petl",
        "fit",
    ]
    body = _BODY.format(
        code=shlex.quote(str(folder / "code")),
        setup="\n".join(launch.setup),
        run=f'$(readlink -f {shlex.quote(str(folder))}/"$SLURM_ARRAY_TASK_ID")'
        if array
        else shlex.quote(str(folder)),
        srun=shlex.join(
            [
                f"--cpus-per-task={request.tasks.cpus_per_task}",
                f"--wait={launch.wait}",
                *launch.srun,
            ]
        ),  # srun takes no cpus-per-task from sbatch since 22.05
        command=shlex.join(command),
        frozen=FROZEN,
        requeue=_REQUEUE if request.limits.requeue else "",
    )
    return f"#!/bin/bash\n{directives}\n{body}"


def _options(
    request: Request, folder: Path, array: int, after: str | None
) -> Iterator[str]:
    tasks, queue, limits = request.tasks, request.queue, request.limits
    yield f"--job-name={request.name}"
    yield f"--nodes={tasks.nodes}"
    yield f"--ntasks-per-node={tasks.per_node}"
    yield f"--cpus-per-task={tasks.cpus_per_task}"
    if tasks.gpus:
        yield f"--gres={tasks.gres}:{tasks.gpus}"
    if tasks.memory:
        yield f"--mem={tasks.memory}"
    yield f"--time={limits.time}"
    for name in ("partition", "account", "qos", "constraint"):
        if value := getattr(queue, name):
            yield f"--{name}={shlex.quote(value)}"
    # to the tasks, not (B:) to this shell, which could not pass it on to other nodes
    yield f"--signal=USR1@{limits.notice}"
    yield "--requeue" if limits.requeue else "--no-requeue"
    yield "--open-mode=append"  # a requeued job goes on in the log that it has
    base = str(folder).replace("%", "%%")
    yield f'--output="{base}/%a/{LOG}"' if array else f'--output="{base}/{LOG}"'
    if array:
        yield f"--array=0-{array - 1}"
    if after:
        yield f"--dependency={after}"
        yield "--kill-on-invalid-dep=yes"  # else a job waits for ever for one that has failed
    yield from queue.sbatch
