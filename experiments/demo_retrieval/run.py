"""``make demo-retrieval``: text-video retrieval of objects that were never seen moving, through the command line.

Renders the data set, fetches the trunk, trains, tests on new objects, prints a table and draws three answers.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from data_modules.sets.rendered.motion_captions import render
from experiments.demo.fetch_trunk import fetch_trunk
from experiments.demo.run import best_thread_count, options, scalars, settings
from experiments.demo_retrieval.picture import draw

HERE = Path(__file__).parent
DIRECTIONS = {"t2v": "text to video", "v2t_any": "video to text"}
RECALLS = (1, 5, 10)


class Demo(NamedTuple):
    """What both commands of the demo share."""

    folder: Path
    data: Path
    trunk: Path
    seed: int

    def run(self, verb: str, threads: int, *flags: str) -> None:
        """One fit or test; CalledProcessError where it fails."""
        found = settings(self.folder, self.data, self.trunk, self.seed)
        command = [
            sys.executable,
            "-m",
            "lightning_petl",
            verb,
            "-c",
            str(HERE / "retrieval.yaml"),
            *found,
            *flags,
        ]
        subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=True
        )


def main() -> int:
    """Run the demo; return 0, or 2 where the trunk or the data set cannot be had."""
    arguments = options(__doc__, Path("runs/demo_retrieval"))
    begun = time.perf_counter()
    try:
        trunk = fetch_trunk()
        data = render(arguments.folder / "motion")
    except (RuntimeError, ValueError) as error:
        print(f"make demo-retrieval: {error}", file=sys.stderr)
        return 2
    folder = (
        arguments.folder / f"seed{arguments.seed}" / time.strftime("%Y%m%d-%H%M%S")
    )
    demo, threads = Demo(folder, data, trunk, arguments.seed), best_thread_count()
    demo.run("fit", threads)
    checkpoint = next(folder.glob("version_*/checkpoints/last.ckpt"))
    demo.run("test", threads, f"--ckpt_path={checkpoint}")
    report(demo, time.perf_counter() - begun)
    return 0


def table(values: dict[str, float], videos: int, title: str) -> Table:
    """Both directions beside chance: a random order has R@k = k / videos, and each rank is as likely as any other."""
    rows = Table("", *(f"R@{k} (%)" for k in RECALLS), "median rank", title=title)
    for name, words in DIRECTIONS.items():
        recalls = [f"{values[f'test/{name}/R{k}']:.1f}" for k in RECALLS]
        rows.add_row(words, *recalls, f"{values[f'test/{name}/MdR']:.1f}")
    rows.add_row(
        "chance",
        *(f"{100 * k / videos:.1f}" for k in RECALLS),
        f"{(videos + 1) / 2:.1f}",
    )
    return rows


def report(demo: Demo, seconds: float) -> None:
    """Print the table, draw the picture and say where to look further."""
    found = next(demo.folder.glob("version_*/retrieval.jsonl"))
    answers = [json.loads(line) for line in found.read_text("utf-8").splitlines()]
    picture = draw(answers, demo.data / "videos", demo.folder / "retrieval.png")
    console = Console(soft_wrap=True)
    console.print(
        table(
            scalars(demo.folder),
            len({answer["video"] for answer in answers}),
            f"seed {demo.seed}",
        )
    )
    console.print(
        f"{len(answers)} captions of objects that training never showed; {seconds / 60:.1f} min in all"
    )
    console.print(f"picture:     {picture}\nall answers: {found}")


if __name__ == "__main__":
    sys.exit(main())
