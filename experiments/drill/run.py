"""``make drill``: kill a training again and again, and compare it bit for bit with one that nobody disturbed.

Half of the stops are SIGKILL, half SIGUSR1, each to every process of the job at once, at random moments of random
updates. Two gloo ranks with two workers each, dropout 0.5, RandAugment, two accumulated passes, averaged weights.
"""

import argparse
import datetime
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.table import Table

from data_modules.video.encode import write_video
from experiments.benchmarks.machine import cpu
from experiments.drill.compare import checkpoints, curves, events, starts
from lightning_petl.runs.signals import PREEMPTED

HERE = Path(__file__).parent
METHODS = {
    "Multi-TuneV": {
        "class_path": "MultiTuneV",
        "init_args": {"st_adapter": {"bottleneck": 16}},
    },
    "Side4Video": {"class_path": "Side4Video", "init_args": {"width": 64}},
}
RANKS, EPOCHS, UPDATES, EVERY, BEST = (
    2,
    10,
    6,
    2,
    2,
)  # updates of an epoch, of a checkpoint; best checkpoints kept
TIMEOUT = 900  # seconds for one start


class Stop(NamedTuple):
    """One interruption.

    Attributes:
        update: behind which it comes.
        kind: the signal.
        reached: updates that were done when the job was gone.
        resumed: updates that the next start went on from; -1 until known.
        code: exit code of rank zero.
    """

    update: int
    kind: signal.Signals
    reached: int = 0
    resumed: int = -1
    code: int = 0


def main() -> int:
    """Run the drill; return 0 where every resume was exact, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stops",
        type=int,
        default=20,
        help="for each method; half of them SIGKILL",
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument(
        "--methods", nargs="*", choices=list(METHODS), default=list(METHODS)
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for results.md; none is written where not given",
    )
    given = parser.parse_args()
    if given.stops > (most := len(_places(given.epochs))):
        parser.error(
            f"--stops {given.stops}: at most {most} fit into --epochs {given.epochs}; give more epochs"
        )
    with tempfile.TemporaryDirectory(prefix="drill-") as name:
        found = {
            m: drill(Path(name) / m, m, given.stops, given.epochs, given.seed)
            for m in given.methods
        }
    for method, (stops, failures) in found.items():
        Console().print(_table(method, stops), *failures, sep="\n")
    if given.output is not None:
        given.output.mkdir(parents=True, exist_ok=True)
        (given.output / "results.md").write_text(_markdown(found))
    return 0 if all(not failures for _, failures in found.values()) else 1


def drill(
    folder: Path, method: str, stops: int, epochs: int, seed: int
) -> tuple[list[Stop], list[str]]:
    """Train once undisturbed and once with ``stops`` interruptions.

    Returns:
        The interruptions, and one line for each thing that differs.
    """
    (folder / "videos").mkdir(parents=True)
    for label, step in (("left", -4), ("right", 4)):
        for split, count in (("train", 4 * UPDATES), ("val", 3)):
            (folder / "videos" / split / label).mkdir(parents=True)
            for index in range(count):
                write_video(
                    folder / "videos" / split / label / f"{index}.mp4",
                    _bar(step, index),
                    8,
                    codec="mpeg4",
                )
    jobs = {
        name: Job(folder, name, method, epochs)
        for name in ("undisturbed", "disturbed")
    }
    jobs["undisturbed"].run_to_end()
    done = list(
        _disturb(
            jobs["disturbed"], _moments(stops, epochs, seed), random.Random(seed)
        )
    )
    begun = [begun[0]["update"] for begun in starts(jobs["disturbed"].lines())]
    done = [
        stop._replace(resumed=update)
        for stop, update in zip(done, begun[1:], strict=True)
    ]
    return done, [
        *_differences(*jobs.values()),
        *(text for stop in done for text in _too_much(stop)),
    ]


class Job:
    """One training, started as often as it takes."""

    def __init__(self, folder: Path, name: str, method: str, epochs: int) -> None:
        self.folder = folder / name
        self.run = self.folder / "run"
        self.folder.mkdir()
        self._log = self.folder / "log.txt"
        config = self.folder / "config.yaml"
        config.write_text(
            yaml.safe_dump(_config(folder / "videos", self.folder, method, epochs))
        )
        command = [sys.executable, "-m", "lightning_petl", "fit", "-c", str(config)]
        self._command = [*command, f"--run_folder={self.run}"]

    def start(self) -> subprocess.Popen[bytes]:
        """In a session of its own, as a job has."""
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(HERE.parents[1]),
        }
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=HERE.parents[1],
            )

    def run_to_end(self) -> None:
        """Start, and wait.

        Raises:
            RuntimeError: it does not end with 0.
        """
        code = self.start().wait(timeout=TIMEOUT)
        if code != 0:
            raise RuntimeError(
                f"{self.run}: exit code {code}\n{self._log.read_text()[-4000:]}"
            )

    def lines(self, rank: int = 0) -> list[dict[str, Any]]:
        """What a rank wrote so far; a line that was cut by a kill is not there."""
        path = self.folder / f"rank_{rank}.jsonl"
        text = path.read_text() if path.exists() else ""
        return [
            json.loads(line) for line in text.splitlines() if line.endswith("}")
        ]


def _config(videos: Path, folder: Path, method: str, epochs: int) -> dict[str, Any]:
    recorder = {
        "class_path": "experiments.drill.recorder.Recorder",
        "init_args": {"folder": str(folder)},
    }
    return {
        "model": {
            "backbone": {"name": "vit_tiny_patch16_224", "weights": "random", "depth": 2},
            "adapters": [METHODS[method]],
            "head": {"dropout": 0.5},
            "optim": {"lr": 1e-3, "schedule": {"warmup": 1, "per": "step"}},
        },
        "data": {
            "class_path": "VideoFolder",
            "init_args": {
                "root": str(videos),
                "sampling": {"class_path": "SegmentSampling", "init_args": {"num_frames": 4}},
                "image_size": 32,
                "augmentations": [{"class_path": "RandAugment"}],
                "batch_size": 2,
                "num_workers": 2,
            },
        },
        "trainer": {
            "accelerator": "cpu", "devices": RANKS, "strategy": "ddp", "accumulate_grad_batches": 2,
            "max_epochs": epochs, "log_every_n_steps": 1, "enable_progress_bar": False,
            "callbacks": [recorder, {"class_path": "EMA", "init_args": {"decay": 0.9}}],
        },
        "checkpoint": {"monitor": "val/loss", "mode": "min", "save_top_k": BEST},
        "preemption": {"every_n_steps": EVERY},
    }  # fmt: skip


def _bar(step: int, seed: int) -> np.ndarray:
    frames = np.random.default_rng(seed).integers(
        0, 60, (8, 48, 48, 3), dtype=np.uint8
    )
    for index, frame in enumerate(frames):
        start = 20 + step * (index - 4)
        frame[:, start : start + 6] = 255
    return frames


def _places(epochs: int) -> range:
    """The updates at which a stop may come: not in the last epoch, which may end before its stop does."""
    return range(EVERY, (epochs - 1) * UPDATES)


def _moments(count: int, epochs: int, seed: int) -> list[Stop]:
    """Distinct updates in order, half of the stops of each kind, in random order."""
    generator = random.Random(seed)
    kinds = [signal.SIGKILL, signal.SIGUSR1] * (count // 2)
    generator.shuffle(kinds)
    moments = sorted(generator.sample(_places(epochs), len(kinds)))
    return [Stop(update, kind) for update, kind in zip(moments, kinds, strict=True)]


def _disturb(
    job: Job, stops: list[Stop], generator: random.Random
) -> Iterator[Stop]:
    """Start the job, stop it behind each update, start it again; and let it end."""
    for number, stop in enumerate(stops):
        process = job.start()
        _await(job, process, stop.update, number)
        time.sleep(
            generator.uniform(0, 0.3)
        )  # some updates long: into a pass, a checkpoint, a validation
        os.killpg(process.pid, stop.kind)
        code = process.wait(timeout=TIMEOUT)
        yield stop._replace(reached=job.lines()[-1]["update"], code=code)
    job.run_to_end()


def _await(
    job: Job, process: subprocess.Popen[bytes], update: int, number: int
) -> None:
    """Wait until the start that is now running is behind ``update``."""
    deadline = time.monotonic() + TIMEOUT
    while not (
        len(starts(job.lines())) > number and job.lines()[-1]["update"] >= update
    ):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"{job.run} does not reach update {update}: exit code {process.returncode}"
            )
        time.sleep(0.01)


def _differences(expected: Job, actual: Job) -> Iterator[str]:
    for rank in range(RANKS):
        yield from curves(expected.lines(rank), actual.lines(rank), rank)
    yield from events(expected.run, actual.run)
    yield from checkpoints(expected.run, actual.run)
    kept = len(list((actual.run / "checkpoints").iterdir()))
    if kept != BEST + 1:
        yield f"{kept} checkpoints instead of {BEST} and the last one"


def _too_much(stop: Stop) -> Iterator[str]:
    """What a stop may cost: nothing where a signal announced it, else what came behind the last checkpoint."""
    killed = stop.kind == signal.SIGKILL
    code, lost = (-signal.SIGKILL, EVERY) if killed else (PREEMPTED, 0)
    if stop.code != code:
        yield f"{stop.kind.name} behind update {stop.update}: exit code {stop.code} instead of {code}"
    if not 0 <= stop.reached - stop.resumed <= lost:
        yield f"{stop.kind.name} behind update {stop.update}: went on from {stop.resumed}, had reached {stop.reached}"


def _table(method: str, stops: list[Stop]) -> Table:
    table = Table(
        "stop",
        "signal",
        "reached update",
        "went on from",
        "done again",
        "exit code",
        title=method,
    )
    for number, stop in enumerate(stops, start=1):
        table.add_row(*map(str, _row(number, stop)))
    return table


def _row(number: int, stop: Stop) -> tuple[Any, ...]:
    return (
        number,
        stop.kind.name,
        stop.reached,
        stop.resumed,
        stop.reached - stop.resumed,
        stop.code,
    )


def _markdown(found: dict[str, tuple[list[Stop], list[str]]]) -> str:
    lines = [
        f"{datetime.date.today().isoformat()}, {os.cpu_count()} cores of {cpu()}, torch {torch.__version__}, "
        f"{RANKS} gloo ranks with 2 workers each.",
    ]
    for method, (stops, failures) in found.items():
        result = (
            "every line, event and weight equal bit for bit"
            if not failures
            else f"{len(failures)} differences"
        )
        lines += ["", f"**{method}**: {len(stops)} stops, {result}.", ""]
        lines += [
            "stop | signal | reached update | went on from | done again | exit code",
            "---:|---|---:|---:|---:|---:",
        ]
        lines += [
            " | ".join(map(str, _row(number, stop)))
            for number, stop in enumerate(stops, start=1)
        ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
