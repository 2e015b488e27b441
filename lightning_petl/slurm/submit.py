"""``lightning-petl submit``: a folder with code, configuration and script, and a job that runs them."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from lightning_petl.grids.points import require_free_data
from lightning_petl.slurm import cluster
from lightning_petl.slurm.frozen_code import write_code
from lightning_petl.slurm.order import Submission
from lightning_petl.slurm.request import Request, seconds
from lightning_petl.slurm.script import FROZEN, script

JOBS = "jobs"  # the numbers of the jobs of a submission, one a line, in its folder


# Reads command lines of ``fit`` and returns the whole configuration of each as YAML; raises
# ValueError for one that ``fit`` would refuse.
ConfigurationReader = Callable[[list[list[str]]], list[str]]


def submit(order: Submission, read: ConfigurationReader) -> int:
    """Submit what is asked for, or print the script.

    Args:
        order: what the user asks for.
        read: reads the configurations.

    Raises:
        ValueError: whatever can be known to be wrong before a job waits.
    """
    base = order.runs.absolute() / order.request.name
    if order.dry_run:
        folder = next(name for name in _names(base) if not name.exists())
        request, array, _, _ = _read(order, folder, read)
        print(script(request, folder, array=array, after=_after(request)), end="")
        return 0
    _check_partition(order.request)
    folder = _claimed(base)
    try:
        numbers = _queued(order, folder, read)
    except BaseException:
        _give_up(folder)  # nothing waits for it
        raise
    print(f"submitted {' '.join(numbers)} in {folder}")
    return 0


def _read(
    order: Submission, folder: Path, read: ConfigurationReader
) -> tuple[Request, int, Sequence[Path], Sequence[str]]:
    """Return the whole request, the number of runs of an array, and the place and configuration of each run."""
    several = order.points[0].flags != ()
    places = [
        folder / point.folder if several else folder for point in order.points
    ]
    texts = read(_command_lines(order, places))
    configs = [yaml.safe_load(text) for text in texts]
    if order.seeds:
        require_free_data(configs, f"--{order.axes}")
    request = _with_processors(order.request, configs)
    return request, len(places) if several else 0, places, texts


def _queued(
    order: Submission, folder: Path, read: ConfigurationReader
) -> list[str]:
    request, array, places, texts = _read(order, folder, read)
    _check_dependency(request)  # late: jobs end while the configurations are read
    cluster.check(script(request, folder, array=array, after=_after(request)))
    _write(folder, places, texts)
    return _submit(request, folder, array)


def _check_partition(request: Request) -> None:
    """sbatch accepts a time beyond the partition's limit, and the job then waits for ever."""
    name, fields = cluster.chosen_partition(request.queue.partition)
    longest = fields.get("MaxTime", "UNLIMITED")
    if longest != "UNLIMITED" and seconds(request.limits.time) > seconds(longest):
        raise ValueError(
            f"time {request.limits.time} is longer than partition {name!r} allows: {longest}"
        )


def _check_dependency(request: Request) -> None:
    """sbatch takes a job that it does not know for one that has succeeded, and says nothing of one that has failed."""
    if request.queue.after is None:
        return
    known = cluster.jobs()
    for number in request.queue.after.split(","):
        states = [
            job["JobState"]
            for job in known
            if number in (job["JobId"], job.get("ArrayJobId"))
        ]
        if not states:
            raise ValueError(
                f"after: SLURM knows no job {number}; one that has long ended is not waited for"
            )
        if failed := set(states) & cluster.FAILED:
            raise ValueError(
                f"after: job {number} has ended as {', '.join(sorted(failed))} and can no longer succeed"
            )


def _names(base: Path) -> Iterator[Path]:
    """Yield folders that a submission may have: named by date and time, then with numbers behind."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return (
        base / (stamp if not number else f"{stamp}-{number}")
        for number in range(1000)
    )


def _claimed(base: Path) -> Path:
    """Make a folder for this submission; of two submissions at the same moment one gets it."""
    for folder in _names(base):
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise ValueError(
        f"name: a thousand submissions have just been made in {base}; wait a second"
    )


def _give_up(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # others are in it
        folder.parent.rmdir()


def _command_lines(order: Submission, places: Sequence[Path]) -> list[list[str]]:
    """Return the options of ``fit`` of each run."""
    files: list[str] = []
    for file in order.config:
        files += ["-c", str(file)]
    tasks = order.request.tasks
    ours = [
        f"--trainer.num_nodes={tasks.nodes}",
        f"--trainer.devices={tasks.per_node}",
    ]
    return [
        [*files, *order.fit, *point.flags, *ours, f"--run_folder={place}"]
        for point, place in zip(order.points, places, strict=True)
    ]


def _with_processors(
    request: Request, configs: Sequence[dict[str, Any]]
) -> Request:
    """Return the request with processors for the loader's workers.

    Raises:
        ValueError: training would leave the GPUs idle, or look for some in vain.
    """
    tasks = request.tasks
    for accelerator in {config["trainer"]["accelerator"] for config in configs}:
        if tasks.gpus and accelerator == "cpu":
            raise ValueError(
                f"{tasks.gpus} GPUs a node, but the configuration trains with trainer.accelerator cpu"
            )
        if not tasks.gpus and accelerator in ("gpu", "cuda"):
            raise ValueError(
                f"gpus is 0, but the configuration trains with trainer.accelerator {accelerator}"
            )
    workers = max(
        config["data"]["init_args"].get("num_workers", 0) for config in configs
    )
    return replace(
        request,
        tasks=replace(tasks, cpus_per_task=tasks.cpus_per_task or workers + 1),
    )


def _write(folder: Path, places: Sequence[Path], texts: Sequence[str]) -> None:
    configs = [yaml.safe_load(text) for text in texts]
    write_code(folder / "code", configs, Path.cwd())
    for number, (place, text) in enumerate(zip(places, texts, strict=True)):
        if place != folder:
            place.mkdir()
            # sbatch's --output knows the number alone
            (folder / str(number)).symlink_to(place.name)
        (place / FROZEN).write_text(text, "utf-8")


def _submit(request: Request, folder: Path, array: int) -> list[str]:
    """Submit the job, or the jobs of a chain, and return their numbers."""
    numbers: list[str] = []
    for link in range(request.limits.chain):
        after = f"afterany:{numbers[-1]}" if link else _after(request)
        file = folder / ("job.sh" if not link else f"job_{link}.sh")
        file.write_text(script(request, folder, array=array, after=after), "utf-8")
        numbers.append(cluster.sbatch(file))
        (folder / JOBS).write_text("\n".join([*numbers, ""]), "utf-8")
    return numbers


def _after(request: Request) -> str | None:
    return (
        request.queue.after and f"afterok:{request.queue.after.replace(',', ':')}"
    )
