"""Videos that cannot be read, through the command line: training goes on within a budget, evaluation never lies."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from tests.runs import Command


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def run(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Exit code and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = main([*arguments])
    return code, [str(warning.message) for warning in caught]


def test_training_names_counts_and_goes_on_where_few_are_bad(command: Command) -> None:
    damage(command.videos / "train" / "left" / "2.mp4")
    code, told = run([*command("fit"), "--data.batch_size=2"])
    assert code == 0
    assert any("train/left/2.mp4: cannot be read as a video" in line and "stands in" in line for line in told)
    events = EventAccumulator(str(command.runs / "version_0"))
    events.Reload()
    assert [event.value for event in events.Scalars("z_data/bad_files")] == [1.0]


def test_training_stops_with_the_list_above_the_budget(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    damage(command.videos / "train" / "left" / "2.mp4")
    code, _ = run([*command("fit"), "--data.batch_size=2", "--bad_files.budget=0"])
    assert code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 10 training clips could not be read, more than bad_files.budget=0.0 allows" in told
    assert "train/left/2.mp4: cannot be read as a video" in told


def test_evaluation_stops_or_counts_as_wrong(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("fit")) == 0
    checkpoint = ["--ckpt_path", str(command.runs / "version_0" / "checkpoints" / "last.ckpt")]
    damage(command.videos / "val" / "right" / "1.mp4")
    code, _ = run([*command("test"), *checkpoint])
    assert code == 2
    assert "val/right/1.mp4: cannot be read as a video" in capsys.readouterr().err.splitlines()[-1]
    code, told = run([*command("test"), *checkpoint, "--data.files.broken=count_wrong"])
    assert code == 0
    assert any("1 video(s) could not be read and count as wrong: " in line and "right/1.mp4" in line for line in told)
    (scores,) = command.runs.glob("*/test_scores.jsonl")
    rows = {row["clip_id"]: row for row in map(json.loads, scores.read_text().splitlines())}
    assert len(rows) == 6
    assert rows["right/1.mp4"]["logits"] == [[0.0, -10000.0]]


def test_an_indexed_bad_file_stops_before_any_training(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    damage(command.videos / "val" / "right" / "1.mp4")
    assert main(["data", "index", "--config", str(command.config), "--workers=1"]) == 1
    capsys.readouterr()
    code, _ = run(command("fit"))
    assert code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "1 video(s) of the val split are known to be bad" in told
    assert "files.broken=count_wrong counts them as wrong" in told
    assert not list(command.runs.glob("version_0/checkpoints/*"))


@pytest.mark.parametrize("place", ["worker", "device"])
def test_everything_that_training_does_to_clips_in_one_run(command: Command, place: str) -> None:
    recipe = [
        f"--data.transforms_on={place}", "--data.num_sample=2", "--data.batch_size=2", "--data.mixing=Mixing",
        "--data.train_transform=MultiScaleCrop", "--data.augmentations+=RandAugment", "--data.augmentations+=Grayscale",
        "--data.augmentations+=RandomErasing", "--data.augmentations+=ColourJitter", "--data.views=2x3",
    ]  # fmt: skip
    assert main([*command("fit"), *recipe]) == 0
