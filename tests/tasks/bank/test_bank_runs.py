"""A bank through the command line: what each member leaves behind, an exact resume, two ranks, cached features."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.artifacts.files import WEIGHTS
from lightning_petl.tasks.loading import load
from tests.commands import Command
from tests.tasks.ranks import on_ranks
from tests.tasks.test_resume import final, same

SIDE = {
    "adapters": [
        {"class_path": "Side4Video", "init_args": {"width": 64, "norm": "group"}}
    ],
    "clip_norm": 0.5,
}
MEMBERS = {
    "linear": {"head": {"dropout": 0.5}},
    "side": {**SIDE, "optim": {"schedule": {"warmup": 1}}},
}
NAMES = ["linear-lr=0.01", "linear-lr=0.1", "side-lr=0.01", "side-lr=0.1"]


def bank(command: Command, members: Any = MEMBERS, grid: Any = None) -> Command:
    """The command with a bank in the place of its model."""
    trunk = {"name": "vit_tiny_patch16_224", "weights": "random", "depth": 2}
    model = {
        "backbone": trunk,
        "members": members,
        "grid": grid or {"optim.lr": [0.01, 0.1]},
    }
    data = yaml.safe_load(command.config.read_text())["data"]
    config = {"model": {"class_path": "Bank", "init_args": model}, "data": data}
    command.config.write_text(yaml.safe_dump(config))
    return command


def test_each_member_leaves_what_a_run_of_its_own_leaves(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(bank(command)("fit", ["--trainer.log_every_n_steps=1"])) == 0
    run = command.runs / "version_0"
    assert sorted(folder.name for folder in (run / "members").iterdir()) == NAMES
    rows = list(csv.DictReader((run / "ranking.csv").read_text().splitlines()))
    assert sorted(row["member"] for row in rows) == NAMES
    assert {row["optim.lr"] for row in rows} == {"0.01", "0.1"}
    assert [float(row["val/top1"]) for row in rows] == sorted(
        (float(row["val/top1"]) for row in rows), reverse=True
    )
    assert "side-lr=0.1" in capsys.readouterr().out
    for name in NAMES:
        events = EventAccumulator(str(run / "members" / name))
        events.Reload()
        assert {"train/loss", "val/top1", "val/loss", "z_lr/head"} <= set(
            events.Tags()["scalars"]
        )
        assert len(events.Scalars("train/loss")) == 3
    predicted_as_trained(run, command)


def predicted_as_trained(run: Path, command: Command) -> None:
    weights = final(run)["state_dict"]
    model = load(
        run / "members" / NAMES[1] / "artifact_last",
        weights="random",
        allow_other_trunk=True,
    )
    assert torch.equal(
        model.head.classifier.weight, weights["heads.1.classifier.weight"]
    )
    videos = f"--data.predict_path={command.videos / 'val'}"
    for place in ("artifact", "artifact_last"):
        folder = str(run / "members" / NAMES[3] / place)
        assert (
            main(
                [
                    "predict",
                    "--artifact",
                    folder,
                    *command.trainer,
                    "--data.num_workers=0",
                    videos,
                ]
            )
            == 0
        )
    assert list(command.runs.glob("version_*/predictions.csv"))


FLAGS = ["--trainer.max_epochs=3", "--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1",
         "--checkpoint.monitor=null"]  # fmt: skip


def test_a_resume_is_bit_exact(command: Command) -> None:
    bank(command)
    assert main(command("fit", FLAGS)) == 0
    for version, step in enumerate((2, 5), start=1):
        stopped = next(
            (command.runs / "version_0" / "checkpoints").glob(f"*step={step}.ckpt")
        )
        torch.manual_seed(99)
        assert main(command("fit", [*FLAGS, f"--ckpt_path={stopped}"])) == 0
        expected, actual = (
            final(command.runs / "version_0"),
            final(command.runs / f"version_{version}"),
        )
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "bank"):
            assert same(actual[key], expected[key]), key
        first, second = (
            command.runs / f"version_{n}" / "members" for n in (0, version)
        )
        assert (first.parent / "ranking.csv").read_text() == (
            second.parent / "ranking.csv"
        ).read_text()
        for name in NAMES:  # also of members that were best before the stop
            best = [
                (root / name / "artifact" / WEIGHTS).read_bytes()
                for root in (first, second)
            ]
            assert best[0] == best[1]


def test_another_bank_is_not_resumed(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(bank(command)("fit")) == 0
    path = command.runs / "version_0" / "checkpoints" / "last.ckpt"
    assert (
        main(
            [
                *command("fit"),
                "--model.grid={optim.lr: [1, 2]}",
                f"--ckpt_path={path}",
            ]
        )
        == 2
    )
    assert "not those of this bank" in capsys.readouterr().err


def test_a_bank_is_validated_tested_and_not_predicted_with(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    bank(command)
    for stage in ("validate", "test"):
        assert main(command(stage, ["--untrained=true"])) == 0
        assert "side-lr=0.1" in capsys.readouterr().out
    assert (
        main(
            [
                *command("predict"),
                "--untrained=true",
                f"--data.predict_path={command.videos / 'val'}",
            ]
        )
        == 2
    )
    assert "predict with a member" in capsys.readouterr().err


def test_an_adapter_inside_the_trunk_is_told(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            bank(
                command,
                {"a": {}, "b": {"adapters": ["LoRA"]}},
                {"clip_norm": [1.0]},
            )("fit")
        )
        == 2
    )
    assert "member b: LoRA changes the trunk" in capsys.readouterr().err


def test_two_ranks_equal_one_process_and_each_has_its_own_streams(
    command: Command,
) -> None:
    """The member that diverges stops on both ranks, and neither waits for it."""
    still = {"head": {"dropout": 0.0}}
    wild = {**still, "optim": {"algorithm": "sgd", "lr": 1.0e38, "momentum": 0.0}}
    bank(
        command,
        {"a_wild": wild, "linear": still, "side": {**SIDE, **still}},
        {"clip_norm": [1.0]},
    )
    flags = ["--trainer.max_epochs=3", "--checkpoint.monitor=null"]
    with pytest.warns(UserWarning, match="member a_wild"):
        assert main(command("fit", ["--data.batch_size=4", *flags])) == 0
    ddp = ["--data.batch_size=2", "--trainer.strategy=ddp"]
    on_ranks([command("fit", [*ddp, *flags])])
    one, two = (final(command.runs / f"version_{n}") for n in (0, 1))
    for key, value in one["state_dict"].items():
        if not key.startswith("heads.0."):
            torch.testing.assert_close(
                two["state_dict"][key], value, rtol=1e-3, atol=1e-4, msg=key
            )
    assert (
        list(two["bank"]["stopped"]) == ["a_wild"] == list(one["bank"]["stopped"])
    )
    streams = two["bank"]["streams"]
    assert len(streams) == 2
    assert not torch.equal(streams[0][0][0], streams[1][0][0])


@pytest.mark.parametrize(
    "members",
    [
        {"linear": {}},
        MEMBERS,
        {"mean": {}, "in_order": {"readout": "frames_concat"}},
    ],
    ids=["the trunk's own feature", "tokens", "two read-outs"],
)
def test_a_bank_trains_from_cached_features(
    members: Any, command: Command, tmp_path: Path
) -> None:
    bank(command, members)
    assert (
        main(
            [
                "cache",
                "build",
                *command("fit")[1:],
                f"--output={tmp_path / 'cache'}",
                "--dtype=fp32",
            ]
        )
        == 0
    )
    assert main(command("fit")) == 0
    assert main(command("fit", [f"--data.cache={tmp_path / 'cache'}"])) == 0
    live, cached = (
        final(command.runs / f"version_{n}")["state_dict"] for n in (0, 1)
    )
    assert live.keys() == cached.keys()
    for key, value in live.items():
        torch.testing.assert_close(
            cached[key], value, rtol=1e-3, atol=1e-4, msg=key
        )
