"""An evaluation looks at weights that were trained, says which, and refuses where there are none."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_petl.__main__ import main
from lightning_petl.cli.evaluation import best_checkpoint
from tests.commands import Command
from tests.pairs import announce

EPOCHS = ["--trainer.max_epochs=3", "--checkpoint.save_top_k=-1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A run in ``runs/mine`` whose second checkpoint of three is the best one."""
    command = Command(tmp_path_factory.mktemp("trained"))
    run = command.runs / "mine"
    assert main(command("fit", [*EPOCHS, f"--run_folder={run}"])) == 0
    favour(run, step=6, score=0.75)
    return command


def favour(run: Path, step: int, score: float) -> None:
    """Let the run's last checkpoint say that the one of an update was the best."""
    last = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    (state,) = (
        state
        for name, state in checkpoint["callbacks"].items()
        if name.startswith("ModelCheckpoint")
    )
    (best,) = (run / "checkpoints").glob(f"*step={step}.ckpt")
    state["best_model_path"], state["best_model_score"] = (
        str(best),
        torch.tensor(score),
    )
    torch.save(checkpoint, last)


def logits(folder: Path) -> dict[str, Any]:
    rows = map(json.loads, (folder / "test_scores.jsonl").read_text().splitlines())
    return {row["clip_id"]: row["logits"] for row in rows}


def newest(runs: Path) -> Path:
    return max(
        runs.glob("version_*"),
        key=lambda folder: int(folder.name.removeprefix("version_")),
    )


@pytest.mark.parametrize("step", [3, 6, 9])
def test_the_best_checkpoint_of_a_run_is_tested_and_told(
    step: int, trained: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its scores are those of the same checkpoint given by name."""
    run = trained.runs / "mine"
    favour(run, step, 0.75)
    (path,) = (run / "checkpoints").glob(f"*step={step}.ckpt")
    assert main(trained("test", [f"--ckpt_path={path}"])) == 0
    expected = logits(newest(trained.runs))
    printed = capsys.readouterr().out
    assert "checkpoint " not in printed
    assert printed.endswith(
        f"\nwritten to {newest(trained.runs) / 'test_scores.jsonl'}\n"
    )
    assert main(["test", "-c", str(run / "config.yaml"), *trained.trainer]) == 0
    told = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("checkpoint ")
    ]
    assert told == [
        f"checkpoint {path}, the best one of {run}: val/top1 0.75 after update {step}"
    ]
    assert logits(newest(trained.runs)) == expected


def test_a_run_folder_alone_says_all(
    trained: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--run_folder={trained.runs / 'mine'}", *trained.trainer]
    assert main(["validate", *flags]) == 0
    assert "val/top1 0.75 after update" in capsys.readouterr().out
    assert (
        main(
            [
                "predict",
                *flags,
                f"--data.predict_path={trained.videos / 'val' / 'left'}",
            ]
        )
        == 0
    )
    rows = list(
        csv.DictReader(
            (newest(trained.runs) / "predictions.csv").read_text().splitlines()
        )
    )
    assert {row["clip_id"] for row in rows} == {"0.mp4", "1.mp4", "2.mp4"}


def test_where_nothing_was_validated_the_last_checkpoint_is_taken(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--trainer.limit_val_batches=0", "--checkpoint.monitor=null"]
    assert main(command("fit", flags)) == 0
    run = command.runs / "version_0"
    assert main(["test", "-c", str(run / "config.yaml"), *command.trainer]) == 0
    told = f"checkpoint {run / 'checkpoints' / 'last.ckpt'}, the last one of {run}, in which no validation chose"
    assert told in capsys.readouterr().out


def test_a_run_that_was_moved_is_where_its_file_lies(
    trained: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file still names the place where it was written, in which another run may stand by now."""
    moved = trained.runs / "moved"
    shutil.copytree(trained.runs / "mine", moved)
    assert main(["test", "-c", str(moved / "config.yaml"), *trained.trainer]) == 0
    assert f"the best one of {moved}: val/top1" in capsys.readouterr().out


def test_what_a_run_began_with_is_not_what_it_came_to(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that goes on from a checkpoint, or from an artifact, has these in its own file."""
    first, second = command.runs / "first", command.runs / "second"
    assert main(command("fit", [f"--run_folder={first}"])) == 0
    begin = [f"--artifact={first / 'artifact'}", f"--run_folder={second}"]
    assert main(command("fit", begin)) == 0
    for start in ([], [f"--ckpt_path={first / 'checkpoints' / 'last.ckpt'}"]):
        capsys.readouterr()
        third = command.runs / f"third_{len(start)}"
        flags = [*start, f"--run_folder={third}", "--trainer.max_epochs=2"]
        assert (
            main(
                ["fit", "-c", str(second / "config.yaml"), *command.trainer, *flags]
            )
            == 0
        )
        assert (
            main(["test", "-c", str(third / "config.yaml"), *command.trainer]) == 0
        )
        assert f"the best one of {third}: val/top1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_initial_values_are_refused_unless_they_are_asked_for(
    name: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (
        [f"--data.predict_path={command.videos / 'val'}"]
        if name == "predict"
        else []
    )
    assert main(command(name, flags)) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(
        f"lightning-petl: {name}: no trained weights are given, and LoRA, head would have initial val"
    )
    for way in (
        "--run_folder RUN",
        "--ckpt_path FILE",
        "--artifact FOLDER",
        "--untrained=true",
    ):
        assert way in told
    assert main(command(name, [*flags, "--untrained=true"])) == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--run_folder={runs}/nowhere"],
            "run_folder: {runs}/nowhere holds no checkpoint; give --run_folder RUN",
        ),
        (
            ["--untrained=true", "--ckpt_path=x.ckpt"],
            "untrained=True and ckpt_path=x.ckpt name different weights",
        ),
        (
            ["--artifact={runs}/mine/artifact", "--ckpt_path=x.ckpt"],
            "ckpt_path=x.ckpt and artifact={runs}/mine/artifact",
        ),
    ],
)
def test_weights_that_are_not_there_or_are_named_twice(
    flags: list[str],
    told: str,
    trained: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(trained("test", [flag.format(runs=trained.runs) for flag in flags]))
        == 2
    )
    assert (
        told.format(runs=trained.runs) in capsys.readouterr().err.splitlines()[-1]
    )


def test_a_best_checkpoint_that_is_gone_is_told(
    trained: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained.runs / "without_best"
    shutil.copytree(trained.runs / "mine", run)
    favour(run, step=6, score=0.75)
    (best,) = (run / "checkpoints").glob("*step=6.ckpt")
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=f"not readable: {best}"):
        assert main(["test", "-c", str(run / "config.yaml"), *trained.trainer]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"{best.name} with val/top1 0.75, is not there or cannot be read" in told
    assert f"--ckpt_path {run / 'checkpoints' / 'last.ckpt'}" in told
    shutil.rmtree(run / "checkpoints")
    assert main(["test", "-c", str(run / "config.yaml"), *trained.trainer]) == 2
    assert (
        f"run_folder: {run} holds no checkpoint; give"
        in capsys.readouterr().err.splitlines()[-1]
    )


def test_a_spoiled_last_checkpoint_is_told_and_another_one_says_which_is_best(
    trained: Command,
) -> None:
    run = trained.runs / "spoiled_last"
    shutil.copytree(trained.runs / "mine", run)
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.warns(
        UserWarning,
        match=f"not readable: {last}.* other checkpoints .* say which one is the best",
    ):
        assert best_checkpoint(run).path.parent == run / "checkpoints"


def test_a_model_in_which_nothing_trains_needs_no_training(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "toys").mkdir()
    announce(tmp_path / "toys")
    zero_shot = [
        "--model.adapters=[]",
        "--model.head=TextHead",
        "--model.backbone.name=open_clip:toy-quickgelu",
    ]
    assert main(command("test", [*zero_shot, "--data.image_size=64"])) == 0
    tuned = ["--model.head.tuned=true", "--data.image_size=64"]
    assert main(command("test", [*zero_shot, *tuned])) == 2


def test_an_artifact_brings_its_protocol_and_differences_are_told(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its views and crop are the default of every command; what a file or a flag says wins, and is printed."""
    made = [
        "--data.views=2x1",
        "--data.eval_crop.crop_ratio=0.8",
        "--data.sampling.num_frames=2",
    ]
    assert main(command("fit", made)) == 0
    kept = [f"--artifact={command.runs / 'version_0' / 'artifact'}"]
    capsys.readouterr()
    assert main(command("test", kept)) == 0
    told = f"not as in the artifact {command.runs / 'version_0' / 'artifact'}:\n"
    assert (
        told + "  data.sampling.num_frames: 2 -> 4\n" in capsys.readouterr().out
    )  # the file says 4
    assert {len(views) for views in logits(newest(command.runs)).values()} == {2}
    same = [*kept, "--data.sampling.num_frames=2"]
    assert main(command("test", same)) == 0
    assert "not as in" not in capsys.readouterr().out
    changed = [
        "--data.views=1x3",
        "--data.image_size=48",
        "--data.sampling=DenseSampling",
        "--data.sampling.stride=1",
    ]
    assert main(command("test", [*same, *changed])) == 0
    lines = capsys.readouterr().out.split(told)[1].splitlines()
    assert {line.strip() for line in lines if " -> " in line} == {
        "data.sampling.class_path: SegmentSampling -> DenseSampling",
        "data.sampling.stride: None -> 1",
        "data.sampling.padding: None -> repeat_last",
        "data.sampling.spacing: None -> ends",
        "data.image_size: 32 -> 48",
        "data.views: 2x1 -> 1x3",
    }
    assert main(command("validate", [*same, "--data.views=1x1"])) == 0
    assert "not as in" not in capsys.readouterr().out
    assert main(["test", *kept, *command.trainer]) == 2
    assert "test: not given: data (-c data/NAME" in capsys.readouterr().err


def test_a_wrong_configuration_of_a_run_is_told_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("data: [\n")
    assert main(["test", f"--run_folder={tmp_path}"]) == 2
    assert (
        f"lightning-petl: {tmp_path / 'config.yaml'}, line "
        in capsys.readouterr().err
    )


def test_no_training_goes_on_from_weights_alone(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"global_step": 3, "state_dict": {}}, tmp_path / "weights.ckpt")
    assert main(command("fit", [f"--ckpt_path={tmp_path / 'weights.ckpt'}"])) == 2
    assert "weights.ckpt holds weights alone" in capsys.readouterr().err
