"""Two processes write each test clip once and count as one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_petl.__main__ import main
from tests.runs import Command, write_videos


def scores(path: Path) -> dict[str, list[list[float]]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["clip_id"] for row in rows}) == len(rows)
    return {row["clip_id"]: row["logits"] for row in rows}


def test_uneven_ranks_equal_one_process(command: Command) -> None:
    write_videos(command.videos, val=4)
    (command.videos / "val" / "left" / "0.mp4").unlink()  # 7 clips: batches of 3 + 1 and of 3
    assert main(command("test")) == 0
    flags = [*command("test"), "--trainer.devices=2", "--trainer.strategy=ddp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lightning_petl", *flags], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    one, two = (scores(command.runs / f"version_{n}" / "test_scores.jsonl") for n in (0, 1))
    assert one.keys() == two.keys()
    assert len(one) == 7
    for clip, logits in one.items():
        assert logits[0] == pytest.approx(two[clip][0], abs=1e-5)
