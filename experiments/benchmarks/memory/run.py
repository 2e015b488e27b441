"""``make bench-memory``: what every method keeps for the backward pass, beside ViT-B/16, L/14 and E/14, in one run.

Bytes are counted on tensors without memory, so that any trunk fits. With a GPU it also trains each for a few steps and
reports what the GPU allocates; without one these columns say that they are not measured.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from data_modules import compat as compat  # before timm, which imports torchvision

# isort: split
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.benchmarks.grid import Grid
from experiments.benchmarks.machine import cpu
from experiments.benchmarks.memory import measure, report
from experiments.benchmarks.memory.methods import (
    B16,
    E14,
    FULL,
    L14,
    LIGHT,
    TINY,
    Trunk,
    rows,
)
from experiments.benchmarks.memory.report import Row
from lightning_petl.adapters import Adapter

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
           TextColumn("left"), TimeRemainingColumn())  # fmt: skip
CHECKED = (LIGHT, FULL)


def main(options: argparse.Namespace) -> int:
    """Measure, print and write; a goal that is missed is reported, and no error."""
    torch.set_num_threads(1)
    trunks = [TINY] if options.quick else [B16, L14, E14]
    console = Console()
    with Progress(*COLUMNS, console=console) as progress:
        results = {trunk: _rows(trunk, options, progress) for trunk in trunks}
    grids = list(_grids(results))
    report.show(grids, console)
    options.results.mkdir(parents=True, exist_ok=True)
    page = (
        options.results
        / f"{time.strftime('%Y-%m-%d')}-{cpu().replace(' ', '-').replace('/', '-')}.md"
    )
    page.write_text(report.page(grids, report.settings(options.steps)))
    console.print(f"written: {page}", soft_wrap=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "--steps",
        type=int,
        default=1,
        help="on the CPU, of each method; 0: no times",
    )
    found.add_argument(
        "--results",
        type=Path,
        default=Path("runs/bench-memory"),
        help="folder of the page of results",
    )
    found.add_argument(
        "--quick",
        action="store_true",
        help="a tiny trunk: shows that everything runs",
    )
    return found


def _rows(
    trunk: Trunk, options: argparse.Namespace, progress: Progress
) -> dict[str, Row]:
    task = progress.add_task(trunk.label, total=len(rows(trunk)))
    results: dict[str, Row] = {}
    for name, recipe in rows(trunk).items():
        progress.update(task, description=f"{trunk.label}, {name}")
        results[name] = _row(trunk, name, recipe(trunk), options)
        progress.advance(task)
    return results


def _row(
    trunk: Trunk, name: str, adapter: Adapter, options: argparse.Namespace
) -> Row:
    row = Row(
        measure.trained_parameters(trunk, adapter),
        measure.counted(trunk, adapter, half=False),
        measure.counted(trunk, adapter, half=True),
    )
    if trunk is TINY or (trunk is B16 and name in CHECKED):
        row.real = measure.counted_on_real_tensors(trunk, adapter, half=True)
    if options.steps > 0 and trunk is not E14:
        row.seconds = measure.step_seconds(trunk, adapter, options.steps)
    if torch.cuda.is_available():
        row.device = measure.on_device(trunk, adapter) or "does not fit"
    return row


def _grids(results: dict[Trunk, dict[str, Row]]) -> Iterator[Grid]:
    if B16 in results:
        yield report.goals_grid(results[B16])
    yield from (report.bytes_grid(trunk, found) for trunk, found in results.items())
    if torch.cuda.is_available():
        yield from (
            report.device_grid(trunk, found) for trunk, found in results.items()
        )
    first = next(iter(results))
    yield report.check_grid(first, results[first])


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
