"""Retrieval through the command line: trained, resumed, tested on one process and on two."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_petl.__main__ import main
from lightning_petl.cli.errors import told_to_the_user
from tests.retrieval_runs import RetrievalCommand
from tests.tasks.ranks import on_ranks
from tests.tasks.test_ranks import metrics


@pytest.fixture
def command(tmp_path: Path) -> RetrievalCommand:
    return RetrievalCommand(tmp_path)


def answers(run: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (run / "retrieval.jsonl").read_text("utf-8").splitlines()
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]


def test_trains_tests_and_writes_what_each_caption_found(
    command: RetrievalCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit", ["--model.joint.similarity=WTI"])) == 0
    table = capsys.readouterr().out
    assert all(
        owner in table
        for owner in ("LoRA", "similarity", "projection", "text", "logit_scale")
    )
    run = command.runs / "version_0"
    # the best by the metric of the task, which nothing here names
    assert any(
        path.name != "last.ckpt" for path in (run / "checkpoints").glob("*.ckpt")
    )
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["checkpoint"]["monitor"] == "val/t2v/R1"
    joint = saved["model"]["init_args"]["joint"]
    assert joint["similarity"]["class_path"] == "WTI"
    assert not any(key.startswith("backbone.patch_embed") for key in weights(run))
    assert (
        main(
            command(
                "test",
                [
                    "--model.joint.similarity=WTI",
                    f"--ckpt_path={run / 'checkpoints/last.ckpt'}",
                ],
            )
        )
        == 0
    )
    found = answers(command.runs / "version_1")
    assert len(found) == 9  # three videos with two captions, three with one
    assert {row["video"] for row in found} == {
        f"val/{way}/{n}.mp4" for way in ("left", "right") for n in range(3)
    }
    for row in found:
        values = [best["similarity"] for best in row["best"]]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert 1 <= row["rank"] <= 6
    logged = metrics(command.runs / "version_1")
    assert logged["test/t2v/MnR"] == pytest.approx(
        sum(row["rank"] for row in found) / 9
    )
    assert "t2v" in capsys.readouterr().out


def test_a_resumed_training_ends_where_an_unbroken_one_does(
    command: RetrievalCommand,
) -> None:
    # 15 pairs in batches of 3: epochs of 5 updates; a checkpoint after each update
    flags = [
        "--trainer.max_epochs=2",
        "--checkpoint.every_n_train_steps=1",
        "--checkpoint.save_top_k=-1",
    ]
    flags += ["--checkpoint.monitor=null", "--model.joint.similarity=WTI"]
    assert main(command("fit", flags)) == 0
    stopped = next(
        (command.runs / "version_0" / "checkpoints").glob("*step=7.ckpt")
    )
    torch.manual_seed(99)
    assert main(command("fit", [*flags, f"--ckpt_path={stopped}"])) == 0
    whole, resumed = (weights(command.runs / f"version_{n}") for n in (0, 1))
    begun = torch.load(stopped, weights_only=True)["state_dict"]
    assert whole.keys() == resumed.keys() == begun.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)
        assert not torch.equal(begun[name], value) or value.numel() == 1


@pytest.mark.parametrize(
    ("ranks", "similarity"),
    [(2, "MeanPooling"), pytest.param(3, "WTI", marks=pytest.mark.slow)],
)
def test_ranks_find_what_one_process_finds(
    ranks: int, similarity: str, command: RetrievalCommand
) -> None:
    (command.videos / "val" / "left" / "0.mp4").write_bytes(b"no video")
    flags = [
        "--data.files.broken=count_wrong",
        f"--model.joint.similarity={similarity}",
        "--untrained=true",
    ]
    with pytest.warns(
        UserWarning, match=r"1 video\(s\) could not be read and count as wrong"
    ):
        assert main(command("test", flags)) == 0
    on_ranks([command("test", [*flags, "--trainer.strategy=ddp"])], ranks)
    one, two = (command.runs / f"version_{n}" for n in (0, 1))
    assert metrics(one) == metrics(two)
    lost = [row for row in answers(one) if row["video"] == "val/left/0.mp4"]
    assert [row["rank"] for row in lost] == [6.0, 6.0]
    assert all(
        best["video"] != "val/left/0.mp4"
        for row in answers(two)
        for best in row["best"]
    )
    for first, second in zip(answers(one), answers(two), strict=True):
        assert {**first, "best": None} == {**second, "best": None}
        for a, b in zip(first["best"], second["best"], strict=True):
            assert a["similarity"] == pytest.approx(b["similarity"], abs=1e-5)


@pytest.mark.slow
def test_two_ranks_train_on_the_joint_batch(command: RetrievalCommand) -> None:
    short = [
        "--trainer.max_steps=2",
        "--model.optim.lr=0.1",
        "--model.optim.algorithm=sgd",
        "--checkpoint.monitor=null",
    ]
    assert main(command("fit", ["--data.batch_size=4", *short])) == 0
    ddp = ["--data.batch_size=2", "--trainer.strategy=ddp"]
    on_ranks([command("fit", [*ddp, *short])])
    one, two = (weights(command.runs / f"version_{n}") for n in (0, 1))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def test_a_smaller_batch_is_not_said_to_be_the_same_loss() -> None:
    told = told_to_the_user(torch.OutOfMemoryError("CUDA out of memory."))
    assert told is not None
    assert (
        "VideoTextRetrieval compares the clips of a batch, so try --model.joint.block=64"
        in told
    )


def test_summary_counts_what_the_published_recipe_trains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of ViT-B/32: 12 layers of a network of width 320, its stem, norms and positions, and W_r; two scorers of WTI."""
    config = [
        "-c",
        "configs/retrieval/side4video.yaml",
        "-c",
        "configs/data/msrvtt_1ka.yaml",
    ]
    assert main(["summary", *config]) == 0
    rows = [
        [cell.strip() for cell in line.split("│")]
        for line in capsys.readouterr().out.splitlines()
    ]
    counts = {row[1]: int(row[3].replace(",", "")) for row in rows if len(row) == 6}
    assert counts["side_projection"] == 320 * 768
    taps, stem = (
        12 * (14 * 320**2 + 22 * 320 + 768 * 320 + 2 * 768),
        9 * 320 * 32**2 + 320,
    )
    assert counts["Side4Video"] == taps + stem + (49 + 4 + 1) * 320
    assert counts["Side4Video"] + counts["side_projection"] == 23_467_712
    assert counts["similarity"] == 2 * (512**2 + 2 * 512 + 1) == 526_338
    assert counts["projection"] == 768 * 512 + 2 * 768
    assert counts["logit_scale"] == 1
    block = 12 * 512**2 + 13 * 512
    assert counts["text"] == (49408 + 32) * 512 + 12 * block + 2 * 512 + 512**2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data=VideoFolder"], "needs videos with captions"),
        (
            ["--model=VideoClassifier"],
            "captions in the place of classes are for VideoTextRetrieval",
        ),
        (["--model.text=null", "--model.text_adapters=null"], "no text tower"),
        (["--model.text_adapters=null"], "text_adapters: [FullFineTuning]"),
        (
            ["--data.cache=/nowhere"],
            "a cache keeps what a classifier reads, and VideoTextRetrieval needs the clips",
        ),
        (
            ["--model.optim.lr_factor={words: 0.1, projection: 0.5}"],
            """names words, which own no trainable parameter; owners: ['LoRA', 'logit_scale', 'projection', 'text']; """
            """leave the others out: --model.optim.lr_factor='{"projection": 0.5}'""",
        ),
        (["--model.joint.similarity=WIT"], "'WIT' is no known class; near: WTI"),
        (
            ["--model.joint.dual_softmax=0"],
            "joint.dual_softmax 0.0 must be above zero",
        ),
        (
            ["--model.backbone.name=open_clip:ViT-B-61"],
            "is not a model of open_clip; near: ViT-B-16",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(
    command: RetrievalCommand,
    flags: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(command("fit", flags)) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("lightning-petl: ")
    assert message in told
