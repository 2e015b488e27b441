"""``make demo``: Multi-TuneV and an order-blind linear probe on a motion data set, through the command line.

Renders the data set, fetches the trunk, trains both at once (the probe in the background), tests both on clips with
unseen objects and backgrounds, and prints a table.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_modules.sets.rendered.motion import render
from experiments.demo.fetch_trunk import fetch_trunk

HERE = Path(__file__).parent
RUNS = {"multi_tunev": "Multi-TuneV", "linear_probe": "linear probe"}


class Demo(NamedTuple):
    """What every command of the demo shares."""

    folder: Path
    data: Path
    trunk: Path
    seed: int
    threads: int

    def command(self, verb: str, run: str, *flags: str) -> list[str]:
        """The command line of one fit or test."""
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
    """What a demo finds out while it runs, as flags; a run writes to ``folder``."""
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
    try:
        trunk = fetch_trunk()
        data = render(arguments.folder / "motion")
    except (RuntimeError, ValueError) as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 2
    folder = (
        arguments.folder / f"seed{arguments.seed}" / time.strftime("%Y%m%d-%H%M%S")
    )
    demo = Demo(folder, data, trunk, arguments.seed, best_thread_count(processes=2))
    train_and_test(demo)
    report(demo)
    return 0


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
            if process.wait():
                raise RuntimeError(
                    f"{' '.join(command)} failed:\n{path.read_text()[-2000:]}"
                )
        finally:
            process.kill()


def best_thread_count(processes: int = 1) -> int:
    """The fastest number of threads for each of so many processes, by timing a layer of the trunk for about a second.

    More threads are not always faster: on small or shared machines two were once four times slower than one.
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
    """The last training state of a run."""
    return next(run.glob("version_*/checkpoints/last.ckpt"))


def scalars(run: Path) -> dict[str, float]:
    """The last value of everything that fit and test of a run wrote to TensorBoard."""
    values: dict[str, float] = {}
    for folder in sorted(run.glob("version_*")):
        events = EventAccumulator(str(folder)).Reload()
        values |= {
            tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]
        }
    return values


def trainable_parameters(run: Path) -> int:
    """Parameters in the run's artifact."""
    with safe_open(
        next(run.glob("version_*/artifact/*.safetensors")), "pt"
    ) as file:
        return sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118  # not a dict


def report(demo: Demo) -> None:
    """Print the table and where to look further."""
    table = Table(
        "",
        "top-1",
        "trainable parameters",
        "peak memory",
        "training clips/s",
        title=f"seed {demo.seed}",
    )
    for run, name in RUNS.items():
        values = scalars(demo.folder / run)
        cost = (
            f"{values['z_cost/peak_memory_mib']:,.0f} MiB",
            f"{values['z_cost/clips_per_s']:.1f}",
        )
        table.add_row(
            name,
            f"{values['test/top1']:.3f}",
            f"{trainable_parameters(demo.folder / run):,}",
            *cost,
        )
    artifact = next((demo.folder / "multi_tunev").glob("version_*/artifact"))
    video = sorted((demo.data / "videos").iterdir())[0]
    console = Console(soft_wrap=True)
    console.print(
        table,
        "six classes: chance is 0.167; both trained at once, so clips/s share the machine",
    )
    console.print(
        f"TensorBoard: {Path(sys.executable).parent / 'tensorboard'} --logdir {demo.folder}"
    )
    console.print(f"artifact:    {artifact}")
    predict = f"{Path(sys.executable).parent / 'lightning-petl'} predict --artifact {artifact}"
    predict += f" --model.backbone.weights {demo.trunk}"
    console.print(f"use it:      {predict} --data.init_args.predict_path {video}")


if __name__ == "__main__":
    sys.exit(main())
