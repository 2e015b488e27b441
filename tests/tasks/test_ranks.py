"""Two processes write each test clip once and count as one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_petl.__main__ import main
from lightning_petl.checkpoint import RandomState
from tests.runs import Command, write_videos


def on_two_ranks(flags: list[str]) -> None:
    flags = [*flags, "--trainer.devices=2", "--trainer.strategy=ddp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-m", "lightning_petl"]
    done = subprocess.run([*python, *flags], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr


def scores(path: Path) -> dict[str, list[list[float]]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["clip_id"] for row in rows}) == len(rows)
    return {row["clip_id"]: row["logits"] for row in rows}


def test_uneven_ranks_equal_one_process(command: Command) -> None:
    write_videos(command.videos, val=4)
    (command.videos / "val" / "left" / "0.mp4").unlink()  # 7 clips: batches of 3 + 1 and of 3
    assert main(command("test")) == 0
    on_two_ranks(command("test"))
    one, two = (scores(command.runs / f"version_{n}" / "test_scores.jsonl") for n in (0, 1))
    assert one.keys() == two.keys()
    assert len(one) == 7
    for clip, logits in one.items():
        assert logits[0] == pytest.approx(two[clip][0], abs=1e-5)


def test_training_leaves_one_artefact_and_the_random_state_of_each_rank(command: Command) -> None:
    on_two_ranks(command("fit", ["--model.optim.global_batch=12"]))
    run = command.runs / "version_0"
    assert (run / "artefact" / "adapter_model.safetensors").is_file()
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    states = [RandomState(*state) for state in checkpoint["callbacks"]["RandomStates"]["ranks"]]
    assert len(states) == 2
    assert not torch.equal(states[0].torch, states[1].torch)  # ranks draw dropout of their own
    assert checkpoint["global_step"] == 1  # 10 clips a epoch are 2 passes of 2 x 3 clips, the last one short
