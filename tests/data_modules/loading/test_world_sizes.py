"""What training sees is a function of (seed, epoch, step): real processes, stopped in mid-epoch, on other ranks."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each run starts processes that import torch

Seen = dict[int, set[str]]


def train(
    root: Path,
    folder: Path,
    ranks: int,
    workers: int,
    steps: int,
    checkpoint: Sequence[Path] = (),
) -> Seen:
    """What each update saw, over all ranks."""
    folder.mkdir()
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.data_modules.stream",
        root,
        folder,
        ranks,
        workers,
        steps,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command), *map(str, checkpoint)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: Seen = {}
    for rank in range(ranks):
        for line in (folder / f"seen-{rank}.csv").read_text().splitlines():
            step, clip = line.split(",", 1)
            assert clip not in seen.setdefault(int(step), set())
            seen[int(step)].add(clip)
    return seen


def test_other_ranks_and_workers_go_on_with_the_very_same_clips(
    class_folders: Callable[..., Path], tmp_path: Path
):
    root = class_folders(train=40, val=3)
    whole = train(root, tmp_path / "whole", ranks=1, workers=0, steps=9)
    assert sorted(whole) == list(range(9))
    assert all(
        len(clips) == 24 for clips in whole.values()
    )  # 12 videos, two clips of each
    stopped = train(root, tmp_path / "one", ranks=1, workers=2, steps=2)
    second = train(
        root,
        tmp_path / "two",
        ranks=2,
        workers=2,
        steps=5,
        checkpoint=[tmp_path / "one" / "last.ckpt"],
    )
    third = train(
        root,
        tmp_path / "three",
        ranks=3,
        workers=1,
        steps=9,
        checkpoint=[tmp_path / "two" / "last.ckpt"],
    )
    assert stopped | second | third == whole
    assert (len(stopped), len(second), len(third)) == (2, 3, 4)
