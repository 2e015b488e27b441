"""``make bench-data``: this package's clip loader beside decord, torchcodec, OpenCV and naive PyAV, in one run.

Draws the clips on the first call and keeps them in the user's cache. What is not installed is reported as not
available. Needs Linux.
"""

import argparse
import sys
import time
from dataclasses import replace
from multiprocessing import set_forkserver_preload
from pathlib import Path

from data_modules import (
    compat as compat,
)  # before torchcodec, which imports torchvision

# isort: split
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from experiments.benchmarks.data import sections
from experiments.benchmarks.data.bench import Bench
from experiments.benchmarks.data.files import (
    KINETICS,
    SOMETHING,
    default_cache,
    write_all,
)
from experiments.benchmarks.data.report import Report
from experiments.benchmarks.data.shared_ffmpeg import restart_with_ffmpeg
from experiments.benchmarks.machine import cpu


class Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """Blank before the second step."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeElapsedColumn(),
           TextColumn("left"), TimeRemainingColumn())  # fmt: skip
SECTIONS = (
    sections.one_worker,
    sections.test_views,
    sections.ingested,
    sections.delivered,
    sections.memory,
)


def main(options: argparse.Namespace) -> int:
    """Measure, print and write; a goal that is missed is reported, and no error."""
    torch.set_num_threads(1)
    set_forkserver_preload(
        ["experiments.benchmarks.data.loaders"]
    )  # else every worker imports torch by itself
    console = Console()
    with Progress(*COLUMNS, console=console) as progress:
        bench = _bench(options, progress)
        _write_files(bench)
        report = Report(_settings(bench))
        for section in SECTIONS:
            section(bench, report)
    report.notes.extend(
        f"{name}: not available: {reason}" for name, reason in bench.missing.items()
    )
    report.show(console)
    options.results.mkdir(parents=True, exist_ok=True)
    page = (
        options.results
        / f"{time.strftime('%Y-%m-%d')}-{cpu().replace(' ', '-').replace('/', '-')}.md"
    )
    page.write_text(report.markdown())
    console.print(f"written: {page}", soft_wrap=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--clips", type=int, default=12, help="of each footage")
    found.add_argument(
        "--repeats", type=int, default=5, help="of each measurement, interleaved"
    )
    found.add_argument(
        "--memory-clips",
        type=int,
        default=2000,
        help="read to see whether memory grows",
    )
    found.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        help="folder of the drawn clips",
    )
    found.add_argument(
        "--results",
        type=Path,
        default=Path("runs/bench-data"),
        help="folder of the page of results",
    )
    found.add_argument(
        "--quick",
        action="store_true",
        help="tiny clips, once each: shows that everything runs",
    )
    return found


def _bench(options: argparse.Namespace, progress: Progress) -> Bench:
    if not options.quick:
        return Bench(options.cache, (KINETICS, SOMETHING), options.clips, options.repeats, options.memory_clips,
                     progress)  # fmt: skip
    tiny = (
        replace(KINETICS, height=64, width=86, seconds=(3, 3)),
        replace(SOMETHING, height=60, width=107),
    )
    return Bench(
        options.cache, tiny, clips=2, repeats=1, memory_clips=8, progress=progress
    )


def _write_files(bench: Bench) -> None:
    task = bench.progress.add_task("drawing clips", total=None)
    for done, total in write_all(bench.footages, bench.clips, bench.cache):
        bench.progress.update(task, completed=done, total=total)


def _settings(bench: Bench) -> str:
    sizes = {
        encoding.name: sum(
            path.stat().st_size for path in bench.paths(footage, encoding)
        )
        / bench.clips
        / 1000
        for footage in bench.footages
        for encoding in footage.encodings
    }
    kilobytes = ", ".join(f"{name} {size:.0f} kB" for name, size in sizes.items())
    return (
        f"{bench.clips} clips of each kind ({kilobytes} on average), medians of {bench.repeats} interleaved repeats; "
        "one thread a reader, except PyAV as it comes. Process CPU time, unless a table says wall."
    )


if __name__ == "__main__":
    chosen = parser().parse_args()
    restart_with_ffmpeg(chosen.cache)
    sys.exit(main(chosen))
