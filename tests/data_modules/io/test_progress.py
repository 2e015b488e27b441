"""What a bar shows of a task whose clock the test turns."""

import os

import pytest
from rich.console import Console
from rich.progress import TextColumn

from data_modules.io.progress import cpus, progress


def test_a_bar_tells_count_rate_and_time_left() -> None:
    now, console = [0.0], Console(width=120)  # seconds
    bar = progress("files", TextColumn("{task.fields[bad]} bad"), console=console)
    bar.get_time = lambda: now[0]
    task = bar.add_task("Probing", total=40, bad=0)
    for now[0] in (1.0, 2.0, 3.0):
        bar.update(task, advance=5, bad=3)
    with console.capture() as shown:
        console.print(bar.get_renderable())
    words = [word for word in shown.get().split() if not word.startswith("━")]
    assert words == ["Probing", "15/40", "5.0", "files/s", "0:00:05", "3", "bad"]


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"),
    reason="Linux alone tells which CPUs a process may use",
)
def test_cpus_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cpus() == len(allowed)
