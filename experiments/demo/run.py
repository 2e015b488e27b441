"""``make demo``: Multi-TuneV and four probes of the same frozen trunk on a motion data set, through the command line.

Renders the data set, fetches the trunk, trains Multi-TuneV and a bank of the probes at once (the bank in the
background), tests all on clips with unseen objects and backgrounds, prints a table and draws a picture.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import TorusMotion
from experiments.demo.fetch_trunk import fetch_trunk
from experiments.demo.picture import draw

HERE = Path(__file__).parent
RUNS = ("multi_tunev", "probes")
ROWS = {
    "Multi-TuneV": ("multi_tunev", ""),
    "linear probe, order-blind": ("probes", "order_blind"),
    "linear probe, frames in order": ("probes", "in_order"),
    "attentive probe, frame positions": ("probes", "attentive"),
    "four-block attentive probe": ("probes", "four_blocks"),
}
"""Name of a row of the table -> its run, and its member where the run is a bank."""
BOUND = """\
The linear probes are sums over frames of functions of one frame, and no such sum, however the frames are ordered, can
expect a lower cross-entropy than guessing: .5 between a class and its opposite, .167 among six.
Each frame by itself, wherever it stands in the clip, has the same distribution in every class, so that the scores of a
sum have the same means in all classes, and cross-entropy is convex."""


class Demo(NamedTuple):
    """Hold what every command of the demo shares."""

    folder: Path
    data: Path
    trunk: Path
    seed: int
    threads: int

    def command(self, verb: str, run: str, *flags: str) -> list[str]:
        """Return the command line of one fit or test."""
        files = ["-c", str(HERE / "demo.yaml"), "-c", str(HERE / f"{run}.yaml")]
        found = settings(self.folder / run, self.data, self.trunk, self.seed)
        return [
            sys.executable,
            "-m",
            "lightning_petl",
            verb,
            *files,
            *found,
            *flags,
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Each process has its share of the cores."""
        return os.environ | {"OMP_NUM_THREADS": str(self.threads)}


def settings(folder: Path, data: Path, trunk: Path, seed: int) -> list[str]:
    """Return what a demo finds out while it runs, as flags; a run writes to ``folder``."""
    values = {
        "seed_everything": seed,
        "trainer.default_root_dir": folder,
        "model.init_args.backbone.init_args.weights": trunk,
        "data.init_args.root": data,
        "data.init_args.seed": seed,
    }
    return [f"--{key}={value}" for key, value in values.items()]


def options(about: str | None, folder: Path) -> argparse.Namespace:
    """Read the options of a demo.

    Args:
        about: the text of its help page.
        folder: where it writes if nothing else is said.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of initialization and of the order of clips",
    )
    parser.add_argument(
        "--folder", type=Path, default=folder, help="where everything is written"
    )
    return parser.parse_args()


def main() -> int:
    """Run the demo; return 0, or 2 where the trunk or the data set cannot be had."""
    arguments = options(__doc__, Path("runs/demo"))
    begun = time.perf_counter()
    # not "motion", where earlier releases have rendered another set
    data = arguments.folder / "torus"
    try:
        trunk = fetch_trunk()
        clips_of(data).prepare_data()
    except (RuntimeError, ValueError) as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 2
    folder = (
        arguments.folder / f"seed{arguments.seed}" / time.strftime("%Y%m%d-%H%M%S")
    )
    demo = Demo(folder, data, trunk, arguments.seed, best_thread_count(processes=2))
    train_and_test(demo)
    report(demo, time.perf_counter() - begun)
    return 0


def clips_of(root: Path) -> TorusMotion:
    """Return the data set of the demo, as demo.yaml has it."""
    return TorusMotion(str(root), sampling=SegmentSampling(8), image_size=56)


def train_and_test(demo: Demo) -> None:
    """Fit both at once, then test both at once; the first one's progress is shown."""
    first, second = RUNS
    for verb in ("fit", "test"):
        flags = {
            run: [f"--ckpt_path={checkpoint(demo.folder / run)}"]
            if verb == "test"
            else []
            for run in RUNS
        }
        with in_background(
            demo.command(verb, second, *flags[second]), demo, f"{second}_{verb}.log"
        ):
            subprocess.run(
                demo.command(verb, first, *flags[first]),
                env=demo.environment,
                check=True,
            )


@contextmanager
def in_background(command: list[str], demo: Demo, log: str) -> Iterator[None]:
    """Run ``command`` beside the body; its output goes to a log, which an error shows."""
    demo.folder.mkdir(parents=True, exist_ok=True)
    path = demo.folder / log
    with path.open("w") as output:
        process = subprocess.Popen(
            command, env=demo.environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield
            if process.poll() is None:
                print(
                    f"the other process goes on; its lines are in {path}",
                    flush=True,
                )
            if process.wait():
                raise RuntimeError(
                    f"{' '.join(command)} failed:\n{path.read_text()[-2000:]}"
                )
        finally:
            process.kill()


def best_thread_count(processes: int = 1) -> int:
    """Return the fastest number of threads for each of so many processes.

    A layer of the trunk is timed for about a second. More threads are not always faster: on small or shared machines
    two were once four times slower than one.
    """
    counts = [1]
    while counts[-1] * 2 <= (os.cpu_count() or 1) // processes:
        counts.append(counts[-1] * 2)
    return (
        min(counts, key=lambda count: _seconds(count, 1 / len(counts)))
        if len(counts) > 1
        else 1
    )


def _seconds(threads: int, budget: float) -> float:
    torch.set_num_threads(threads)
    tokens, weight = torch.randn(64 * 17, 384), torch.randn(1536, 384)
    times: list[float] = []
    end = time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.nn.functional.linear(tokens, weight)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def checkpoint(run: Path) -> Path:
    """Return the last training state of a run."""
    return next(run.glob("version_*/checkpoints/last.ckpt"))


def scalars(run: Path) -> dict[str, float]:
    """Return the last value of everything that fit and test of a run wrote to TensorBoard."""
    values: dict[str, float] = {}
    for folder in sorted(run.glob("version_*")):
        events = EventAccumulator(str(folder)).Reload()
        values |= {
            tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]
        }
    return values


def record_of(folder: Path, run: str, member: str) -> dict[str, Any]:
    """Return what a test wrote down of a run, or of a member of a bank: metrics, parameters, operations."""
    place = f"members/{member}/testing.json" if member else "testing.json"
    found = sorted((folder / run).glob(f"version_*/{place}"))
    return json.loads(found[-1].read_text("utf-8"))


def report(demo: Demo, seconds: float) -> None:
    """Print the table, draw the picture and say where to look further."""
    records: dict[str, dict[str, Any]] = {}
    scores: dict[str, float] = {}
    for name, (run, member) in ROWS.items():
        records[name] = record_of(demo.folder, run, member)
        scores[name] = records[name]["metrics"]["test/top1"]
    data = clips_of(demo.data)
    clips = data.clips("test")
    path = draw(clips, data.labels, scores, demo.folder / "demo.png")
    console = Console(soft_wrap=True)
    console.print(table(records, f"seed {demo.seed}, {len(clips)} test clips"))
    console.print(f"chance is {1 / len(data.labels):.3f}. {BOUND}")
    console.print("The attentive probes are no such sums: their rows are measured.")
    artifact = next((demo.folder / "multi_tunev").glob("version_*/artifact"))
    programs = Path(sys.executable).parent
    predict = f"{programs / 'lightning-petl'} predict --artifact {artifact}"
    predict += f" --model.backbone.weights {demo.trunk}"
    console.print(
        f"\n{seconds / 60:.1f} min in all; everything is in {demo.folder}"
    )
    console.print(f"picture:     {path}")
    console.print(f"TensorBoard: {programs / 'tensorboard'} --logdir {demo.folder}")
    console.print(f"artifact:    {artifact}")
    console.print(
        f"use it:      {predict} --data.init_args.predict_path {clips[0].path}"
    )


def table(records: dict[str, dict[str, Any]], title: str) -> Table:
    """Return a row for each method: top-1, trained parameters, operations of a clip."""
    columns = ("top-1", "trained parameters", "GMACs a clip")
    rows = Table("", *columns, title=title)
    for name, record in records.items():
        parameters = sum(record["parameters"].values())
        rows.add_row(
            name,
            f"{record['metrics']['test/top1']:.3f}",
            f"{parameters:,}",
            f"{record['macs'] / 1e9:.2f}",
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
