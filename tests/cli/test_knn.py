"""``cache knn`` on caches that ``cache build`` wrote, through the console script."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file

from data_modules.features.pooled import PooledFeatures
from lightning_petl.__main__ import main
from lightning_petl.cli import knn
from tests.commands import Command

HEAD = ["--model.adapters=[LinearProbe]", "--dtype=fp32", "--shard_size=4"]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A small run, of which one training clip cannot be read."""
    made = Command(tmp_path_factory.mktemp("knn"))
    (made.videos / "train" / "left" / "2.mp4").write_bytes(b"no video")
    return made


@pytest.fixture(scope="module")
def cache(command: Command) -> Path:
    """Two draws of training, of which only the first votes, and three views of test."""
    folder = command.videos.parent / "cache"
    flags = ["--augmentations=2", "--splits=[train,val,test]", "--data.views=1x3"]
    built = [f"--output={folder}", *HEAD, *flags]
    assert main(["cache", *command("build", built)]) == 0
    return folder


def rows_of(folder: Path, split: str, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Feature and label of the first rows, straight from the files."""
    shards = [
        load_file(path) for path in sorted(folder.glob(f"{split}-*.safetensors"))
    ]
    features = np.concatenate([shard["feature"] for shard in shards])[:clips]
    labels = np.concatenate([shard["labels"] for shard in shards])[:clips]
    return features.astype(float), labels[:, 0]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def expected(cache: Path, split: str, clips: int, k: int) -> float:
    """Top-1 of classes left and right; clip 2 of ten does not vote."""
    known, labels = rows_of(cache, "train", 10)
    voters = [n for n in range(10) if n != 2]
    asked, wanted = rows_of(cache, split, clips)
    cosines = unit(unit(asked).mean(1)) @ unit(known[voters, 0]).T
    right = 0
    for row, label in zip(cosines, wanted, strict=True):
        nearest = np.argsort(-row)[:k]
        votes = [0.0, 0.0]
        for number in nearest:
            votes[labels[voters[number]]] += np.exp(row[number] / 0.07)
        right += int(np.argmax(votes)) == label
    return right / clips


def said(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    return " ".join((told.out + told.err).split())


def test_the_table_and_the_file(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["cache", "knn", str(cache), "--k=[1,3,9,10]"]) == 0
    told = said(capsys)
    assert "1 clip(s) of training could not be read; left out" in told
    assert "training has 9 clips: no k of 10" in told
    assert f"written to {cache / 'knn.csv'}" in told
    with (cache / "knn.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["clips"], row["k"]) for row in rows] == [
        (split, "6", str(k)) for split in ("val", "test") for k in (1, 3, 9)
    ]
    for row in rows:
        top1 = expected(cache, row["split"], 6, int(row["k"]))
        assert float(row["top1"]) == pytest.approx(top1, abs=1e-4)
    assert float(rows[2]["top5"]) == 1  # of two classes, where all vote


def test_views_of_a_clip_are_the_mean_of_their_directions() -> None:
    """Two of three views point to class 1, the first and longest one to class 0."""
    known = torch.eye(2)[:, None]
    views = torch.tensor([[[9.0, 0.0], [0.0, 0.1], [0.0, 0.1]]])
    (score,) = knn._scores(
        PooledFeatures(known, torch.tensor([[0], [1]]), torch.tensor([True, True])),
        PooledFeatures(views, torch.tensor([[1, 1, 1]]), torch.tensor([True])),
        [1],
        0.07,
        Console(quiet=True),
    )
    assert score.top1 == 1


def test_a_clip_that_cannot_be_read_counts_as_wrong(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = command.videos / "val" / "right" / "1.mp4"
    whole = bad.read_bytes()
    bad.write_bytes(b"no video")
    folder = tmp_path / "cache"
    flags = [f"--output={folder}", *HEAD, "--data.files.broken=count_wrong"]
    try:
        assert main(["cache", *command("build", flags)]) == 0
    finally:
        bad.write_bytes(whole)
    assert (
        main(
            [
                "cache",
                "knn",
                str(folder),
                "--k=[9]",
                f"--output={tmp_path / 'a.csv'}",
            ]
        )
        == 0
    )
    assert "1 clip(s) could not be read and count as wrong" in said(capsys)
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert float(row["top5"]) == pytest.approx(5 / 6, abs=1e-4)


def test_wrong_input(
    command: Command,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokens, alone = tmp_path / "tokens", tmp_path / "alone"
    built = [f"--output={tokens}", *HEAD, "--parts=[block.0]"]
    assert main(["cache", *command("build", built)]) == 0
    built = [f"--output={alone}", *HEAD, "--splits=[train]"]
    assert main(["cache", *command("build", built)]) == 0
    wrong = [
        ([str(tmp_path / "none")], "holds no feature cache"),
        ([str(tokens)], "keeps block.0 and no pooled feature"),
        ([str(alone)], "holds no val or test split"),
        (
            [str(cache)],
            "training has 9 clips, fewer than 10 neighbors; give --k=[9]",
        ),
        ([str(cache), "--k=[0]"], "k: expected numbers from 1 on, got [0]"),
        ([str(cache), "--temperature=0"], "temperature: expected a number above 0"),
        ([str(cache), "--neighbors=4"], "there is no option --neighbors"),
        ([], "folder"),
    ]
    for argv, told in wrong:
        capsys.readouterr()
        assert main(["cache", "knn", *argv]) == 2, argv
        assert told in said(capsys), argv
