"""Two ranks of which one has no clip, or none that can be read: every command ends, with the numbers of one process."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command
from tests.retrieval_runs import RetrievalCommand
from tests.tasks.bank.test_bank_runs import bank
from tests.tasks.ranks import codes_on_ranks, scalars

pytestmark = pytest.mark.slow

COUNTED = "--data.files.broken=count_wrong"
UNTRAINED = ["--untrained=true"]
STRATEGIES = ["ddp", "fsdp"]


def on_two_ranks(commands: Sequence[list[str]]) -> list[list[int]]:
    """Run commands one after the other in two processes; the exit codes of each rank."""
    return [rank.codes for rank in codes_on_ranks(commands, quiet=True)]


def one_clip(command: Command) -> Command:
    """Of the validation clips, the first alone: the second rank has none."""
    for path in sorted((command.videos / "val").rglob("*.mp4"))[1:]:
        path.unlink()
    return command


def second_unreadable(command: Command) -> Command:
    """Two validation clips, of which the second rank has the one that cannot be read."""
    for path in sorted((command.videos / "val").rglob("*.mp4"))[1:-1]:
        path.unlink()
    sorted((command.videos / "val").rglob("*.mp4"))[1].write_bytes(b"no video" * 99)
    return command


def captioned(command: RetrievalCommand) -> RetrievalCommand:
    """The captions of the videos that are there."""
    names = [
        path.relative_to(command.videos)
        for path in sorted((command.videos / "val").rglob("*.mp4"))
    ]
    rows = [f"{name},{name.stem} moves {name.parent.name}" for name in names]
    (command.videos / "val.csv").write_text(
        "\n".join(["video,caption", *rows]) + "\n"
    )
    return command


def where(command: Command, label: str, strategy: str) -> list[str]:
    return [
        f"--trainer.strategy={strategy}",
        f"--trainer.default_root_dir={command.runs / label}",
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_rank_without_clips_takes_part(strategy: str, tmp_path: Path) -> None:
    command = one_clip(Command(tmp_path))
    limits = ["--trainer.limit_val_batches=1", "--trainer.limit_train_batches=0.5"]
    runs: dict[str, tuple[str, list[str]]] = {
        "fit": ("fit", []),
        "limited": ("fit", limits),
        "overfit": ("fit", ["--trainer.overfit_batches=1"]),
        "validate": ("validate", UNTRAINED),
        "test": ("test", UNTRAINED),
        "too few": ("test", [*UNTRAINED, "--trainer.limit_test_batches=0.5"]),
        "predict": (
            "predict",
            [*UNTRAINED, f"--data.predict_path={command.videos / 'val'}"],
        ),
    }
    commands = [
        command(
            name, ["--data.batch_size=2", *flags, *where(command, label, strategy)]
        )
        for label, (name, flags) in runs.items()
    ]
    assert on_two_ranks(commands) == [[0, 0, 0, 0, 0, 2, 0]] * 2
    tested = (
        (command.runs / "test" / "version_0" / "test_scores.jsonl")
        .read_text()
        .splitlines()
    )
    assert [json.loads(line)["clip_id"] for line in tested] == ["left/0.mp4"]
    (predicted,) = command.runs.glob("predict/*/predictions.csv")
    assert (
        len(predicted.read_text().splitlines()) == 1 + 2
    )  # two classes of one clip
    for label in ("fit", "limited", "overfit"):
        assert set(scalars(command.runs / label / "version_0", "val/top1")) <= {
            0.0,
            1.0,
        }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_rank_without_a_readable_clip_counts_it_as_wrong(
    strategy: str, tmp_path: Path
) -> None:
    """And where bad files stop a run, they stop both ranks with one sentence."""
    command = second_unreadable(Command(tmp_path))
    commands = [
        command(
            "fit",
            [COUNTED, "--data.batch_size=2", *where(command, "fit", strategy)],
        ),
        command("test", [COUNTED, *UNTRAINED, *where(command, "test", strategy)]),
        command(
            "fit", ["--data.batch_size=2", *where(command, "stopped", strategy)]
        ),
    ]
    assert on_two_ranks(commands) == [[0, 0, 2]] * 2
    rows = [
        json.loads(line)
        for line in (command.runs / "test/version_0/test_scores.jsonl")
        .read_text()
        .splitlines()
    ]
    assert ["fault" in row for row in rows] == [False, True]
    right = [
        row["logits"][0].index(max(row["logits"][0])) == row["label"]
        for row in rows
    ]
    assert scalars(command.runs / "test" / "version_0", "test/top1") == [
        right[0] / 2
    ]
    assert scalars(command.runs / "test" / "version_0", "test/top5") == [1 / 2]


@pytest.mark.parametrize("make", [one_clip, second_unreadable])
def test_a_bank_and_retrieval_do_so_too(
    make: Callable[[Any], Any], tmp_path: Path
) -> None:
    members = bank(
        make(Command(tmp_path / "bank")), {"linear": {}}, {"optim.lr": [0.01, 0.1]}
    )
    texts = captioned(make(RetrievalCommand(tmp_path / "texts")))
    commands = [
        command(
            name,
            [
                COUNTED,
                *flags,
                "--data.batch_size=2",
                *where(command, f"{name}_{strategy}", strategy),
            ],
        )
        for command in (members, texts)
        for strategy in STRATEGIES
        for name, flags in (("fit", []), ("test", UNTRAINED))
    ]
    assert on_two_ranks(commands) == [[0] * 8] * 2
    for strategy in STRATEGIES:
        assert (
            members.runs / f"test_{strategy}" / "version_0" / "ranking.csv"
        ).is_file()
        path = texts.runs / f"test_{strategy}" / "version_0" / "retrieval.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert [row["video"] for row in rows if "fault" in row] == (
            ["val/right/2.mp4"] if len(rows) > 1 else []
        )
