"""Videos that cannot be read, through the command line: training goes on within a budget, evaluation never lies."""

import csv
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import Command


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def run(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Exit code and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = main([*arguments])
    return code, [str(warning.message) for warning in caught]


def test_training_names_counts_and_goes_on_where_few_are_bad(
    command: Command,
) -> None:
    damage(command.videos / "train" / "left" / "2.mp4")
    code, told = run([*command("fit"), "--data.batch_size=2"])
    assert code == 0
    assert any(
        "train/left/2.mp4: cannot be read as a video" in line
        and "stands in" in line
        for line in told
    )
    events = EventAccumulator(str(command.runs / "version_0"))
    events.Reload()
    assert [event.value for event in events.Scalars("z_data/bad_files")] == [1.0]


def test_training_stops_with_the_list_above_the_budget(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(command.videos / "train" / "left" / "2.mp4")
    code, _ = run([*command("fit"), "--data.batch_size=2", "--bad_files.budget=0"])
    assert code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert (
        "1 of 10 training clips could not be read, more than bad_files.budget=0.0 allows"
        in told
    )
    assert "train/left/2.mp4: cannot be read as a video" in told


def test_evaluation_stops_or_counts_as_wrong(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit")) == 0
    checkpoint = [
        "--ckpt_path",
        str(command.runs / "version_0" / "checkpoints" / "last.ckpt"),
    ]
    damage(command.videos / "val" / "right" / "1.mp4")
    code, _ = run([*command("test"), *checkpoint])
    assert code == 2
    assert (
        "val/right/1.mp4: cannot be read as a video"
        in capsys.readouterr().err.splitlines()[-1]
    )
    code, told = run(
        [*command("test"), *checkpoint, "--data.files.broken=count_wrong"]
    )
    assert code == 0
    assert any(
        "1 video(s) could not be read and count as wrong: " in line
        and "right/1.mp4" in line
        for line in told
    )
    (scores,) = command.runs.glob("*/test_scores.jsonl")
    rows = {
        row["clip_id"]: row
        for row in map(json.loads, scores.read_text().splitlines())
    }
    assert len(rows) == 6
    assert rows["right/1.mp4"]["logits"] == [[0.0, -10000.0]]


def test_an_indexed_bad_file_stops_before_any_training(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(command.videos / "val" / "right" / "1.mp4")
    assert (
        main(["data", "index", "--config", str(command.config), "--workers=1"]) == 1
    )
    capsys.readouterr()
    code, _ = run(command("fit"))
    assert code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "1 video(s) of the val split are known to be bad" in told
    assert "files.broken=count_wrong counts them as wrong" in told
    assert not list(command.runs.glob("version_0/checkpoints/*"))


@pytest.mark.parametrize("place", ["worker", "device"])
def test_everything_that_training_does_to_clips_in_one_run(
    command: Command, place: str
) -> None:
    recipe = [
        f"--data.transforms_on={place}", "--data.num_sample=2", "--data.batch_size=2", "--data.mixing=Mixing",
        "--data.train_transform=MultiScaleCrop", "--data.augmentations+=RandAugment", "--data.augmentations+=Grayscale",
        "--data.augmentations+=RandomErasing", "--data.augmentations+=ColorJitter", "--data.views=2x3",
    ]  # fmt: skip
    assert main([*command("fit"), *recipe]) == 0


def test_predict_goes_on_without_a_class_for_what_cannot_be_read(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two classes and top-5: no class stands beside a video that nobody saw, in the table, the file or the log."""
    assert main(command("fit")) == 0
    artifact = command.runs / "version_0" / "artifact"
    damage(command.videos / "val" / "right" / "1.mp4")
    videos = f"--data.predict_path={command.videos / 'val'}"
    capsys.readouterr()
    assert (
        main(
            [
                "predict",
                "--artifact",
                str(artifact),
                *command.trainer,
                "--data.num_workers=0",
                videos,
            ]
        )
        == 1
    )
    told = capsys.readouterr()
    assert "1 video(s) could not be read and have no class: " in told.err
    assert "right/1.mp4: cannot be read as a video" in told.err.splitlines()[-1]
    (path,) = command.runs.glob("*/predictions.csv")
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    assert len(rows) == 5 * 2 + 1
    (bad,) = (row for row in rows if row["clip_id"] == "right/1.mp4")
    assert (bad["rank"], bad["label"], bad["probability"]) == ("", "", "")
    assert "cannot be read as a video" in bad["fault"]


def without_numbers(checkpoint: Path) -> Path:
    """A copy of a checkpoint whose head answers NaN."""
    state = torch.load(checkpoint, weights_only=True)
    for name, value in state["state_dict"].items():
        if name.startswith("head"):
            value.fill_(float("nan"))
    torch.save(state, checkpoint.with_name("nan.ckpt"))
    return checkpoint.with_name("nan.ckpt")


def test_outputs_that_are_no_numbers_end_every_command(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head of NaN answers class 0 to argmax, which is right for half of the clips."""
    assert main(command("fit")) == 0
    checkpoint = without_numbers(
        command.runs / "version_0" / "checkpoints" / "last.ckpt"
    )
    videos = f"--data.predict_path={command.videos / 'val'}"
    for name, flags in (("validate", []), ("test", []), ("predict", [videos])):
        capsys.readouterr()
        assert main(command(name, [*flags, f"--ckpt_path={checkpoint}"])) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert "the outputs for left/0.mp4 are no numbers" in told
    assert not list(command.runs.glob("*/test_scores.jsonl"))
    assert not list(command.runs.glob("*/predictions.csv"))


def test_a_training_tells_outputs_that_are_no_numbers_and_calls_none_best(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = VideoClassifier.forward

    def answers(self: VideoClassifier, video: Any) -> torch.Tensor:
        logits = forward(self, video)
        return logits if self.training else logits * float("nan")

    monkeypatch.setattr(VideoClassifier, "forward", answers)
    code, told = run(command("fit", ["--trainer.max_epochs=2"]))
    assert code == 0
    assert any(
        "the outputs for 6 clip(s) are no numbers and count as wrong: left/0.mp4"
        in line
        for line in told
    )
    assert [
        path.name for path in (command.runs / "version_0" / "checkpoints").iterdir()
    ] == ["last.ckpt"]
    events = EventAccumulator(str(command.runs / "version_0"))
    events.Reload()
    assert {event.value for event in events.Scalars("val/top1")} == {0.0}
    assert {event.value for event in events.Scalars("val/loss")} == {float("inf")}


def test_a_cache_holds_no_features_of_what_could_not_be_read(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it was told when it was built is no leave for a run that stops at bad files."""
    damage(command.videos / "val" / "right" / "1.mp4")
    build = [
        "cache",
        "build",
        *command("fit")[1:],
        f"--output={tmp_path / 'cache'}",
        "--splits=[val]",
    ]
    assert (
        main([*build, "--model.adapters=[]", "--data.files.broken=count_wrong"])
        == 0
    )
    validate = command(
        "validate",
        [
            "--untrained=true",
            "--model.adapters=[]",
            f"--data.cache={tmp_path / 'cache'}",
        ],
    )
    assert run(validate)[0] == 2
    assert (
        "right/1.mp4: cannot be read as a video"
        in capsys.readouterr().err.splitlines()[-1]
    )
    code, told = run([*validate, "--data.files.broken=count_wrong"])
    assert code == 0
    assert any(
        "1 video(s) could not be read and count as wrong" in line for line in told
    )
