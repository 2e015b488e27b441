"""Two processes write each test clip once and count as one process does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.checkpoints.random_state import RandomState
from tests.commands import Command, write_videos
from tests.tasks.ranks import on_ranks


def launch(count: int, flags: list[str]) -> None:
    """Run a command whose other ranks Lightning starts."""
    flags = [*flags, f"--trainer.devices={count}", "--trainer.strategy=ddp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-m", "lightning_petl"]
    done = subprocess.run(
        [*python, *flags],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def scores(path: Path) -> dict[str, list[list[float]]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["clip_id"] for row in rows}) == len(rows)
    return {row["clip_id"]: row["logits"] for row in rows}


def together(count: int, flags: list[str]) -> None:
    """Run a command on ranks that the test starts, which costs less."""
    on_ranks([[*flags, "--trainer.strategy=ddp"]], count)


@pytest.mark.parametrize(
    "start", [together, pytest.param(launch, marks=pytest.mark.slow)]
)
def test_uneven_ranks_equal_one_process(
    start: Callable[[int, list[str]], None], command: Command
) -> None:
    write_videos(command.videos, val=4)
    (
        command.videos / "val" / "left" / "0.mp4"
    ).unlink()  # 7 clips: batches of 3 + 1 and of 3
    assert main(command("test", ["--untrained=true"])) == 0
    start(2, command("test", ["--untrained=true"]))
    one, two = (
        scores(command.runs / f"version_{n}" / "test_scores.jsonl") for n in (0, 1)
    )
    assert one.keys() == two.keys()
    assert len(one) == 7
    for clip, logits in one.items():
        assert logits[0] == pytest.approx(two[clip][0], abs=1e-5)


@pytest.mark.slow
def test_101_videos_give_the_metrics_of_one_process_bit_for_bit(
    command: Command,
) -> None:
    write_videos(command.videos, val=51)
    (command.videos / "val" / "left" / "7.mp4").unlink()
    assert main(command("test", ["--untrained=true"])) == 0
    found = [metrics(command.runs / "version_0")]
    for ranks in (2, 3):
        on_ranks(
            [command("test", ["--untrained=true", "--trainer.strategy=ddp"])], ranks
        )
        found.append(metrics(command.runs / f"version_{ranks - 1}"))
        assert (
            len(scores(command.runs / f"version_{ranks - 1}" / "test_scores.jsonl"))
            == 101
        )
    assert found[0].keys() == {"test/top1", "test/top5", "test/mean_class"}
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert found[0]["test/top1"] * 101 == pytest.approx(
        round(found[0]["test/top1"] * 101), abs=1e-4
    )


def metrics(run: Path) -> dict[str, float]:
    events = EventAccumulator(str(run))
    events.Reload()
    names = [name for name in events.Tags()["scalars"] if name.startswith("test/")]
    return {name: events.Scalars(name)[-1].value for name in names}


def test_training_leaves_one_artifact_and_the_random_state_of_each_rank(
    command: Command,
) -> None:
    on_ranks(
        [
            command(
                "fit", ["--model.optim.global_batch=12", "--trainer.strategy=ddp"]
            )
        ]
    )
    run = command.runs / "version_0"
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for place in ("artifact", "artifact_last"):  # one epoch: the best is the last
        kept = load_file(run / place / "adapter_model.safetensors")
        assert kept.keys() == checkpoint["state_dict"].keys()
        assert all(
            torch.equal(value, checkpoint["state_dict"][name])
            for name, value in kept.items()
        )
    states = [
        RandomState(*state)
        for state in checkpoint["callbacks"]["RandomStates"]["ranks"]
    ]
    assert len(states) == 2
    assert not torch.equal(
        states[0].torch, states[1].torch
    )  # ranks draw dropout of their own
    assert (
        checkpoint["global_step"] == 1
    )  # 10 clips a epoch are 2 passes of 2 x 3 clips, the last one short
