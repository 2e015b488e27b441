"""Classes and files of the worst names through the real commands: each name comes back byte for byte."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from data_modules.video.encode import write_video
from lightning_petl.__main__ import main
from tests.commands import TRAINER, Command

LABELS = ["\U0001f600 [b]", "${oc.env:HOME}", os.fsdecode(b"caf\xe9"), "two\nlines"]
FILES = ["-a [red].mp4", os.fsdecode(b"\xff 'q'.mp4")]


def write_videos(root: Path) -> Path:
    """Each clip has content of its own, so that none is in two splits."""
    for split in ("train", "val"):
        for label in LABELS:
            (root / split / label).mkdir(parents=True)
            for name in FILES:
                rng = np.random.default_rng([*os.fsencode(split + label + name)])
                write_video(
                    root / split / label / name,
                    rng.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8),
                    8,
                )
    return root


class Nasty(Command):
    """Below a folder whose name is no UTF-8 text."""

    write = staticmethod(write_videos)


@pytest.mark.slow
def test_every_command_gives_the_names_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Nasty(tmp_path)
    folder = tmp_path / os.fsdecode(b"d\xe9p\xf4t")
    folder.symlink_to(command.videos)
    run = tmp_path / "run"
    assert (
        main(command("fit", [f"--data.root={folder}", f"--run_folder={run}"])) == 0
    )
    assert json.loads((run / "artifact" / "labels.json").read_bytes()) == sorted(
        LABELS
    )
    assert (
        main(
            [
                "test",
                "-c",
                str(run / "config.yaml"),
                f"--ckpt_path={run}/checkpoints/last.ckpt",
            ]
        )
        == 0
    )
    clips = {f"{label}/{name}" for label in LABELS for name in FILES}
    scores = next(command.runs.rglob("test_scores.jsonl")).read_bytes()
    assert {json.loads(line)["clip_id"] for line in scores.splitlines()} == clips
    capsys.readouterr()
    predict = [
        "predict",
        f"--artifact={run / 'artifact'}",
        f"--data.predict_path={folder / 'val'}",
        *TRAINER,
    ]
    assert (
        main(
            [
                *predict,
                f"--trainer.default_root_dir={command.runs}",
                "--data.num_workers=0",
            ]
        )
        == 0
    )
    with next(command.runs.rglob("predictions.csv")).open(
        newline="", errors="surrogateescape"
    ) as file:
        rows = list(csv.DictReader(file))
    assert {row["clip_id"] for row in rows} == clips
    assert {row["label"] for row in rows} == set(LABELS)
    assert "[red]" in capsys.readouterr().out
