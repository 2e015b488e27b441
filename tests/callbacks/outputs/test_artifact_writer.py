"""A run leaves the artifact of its best checkpoint and that of its last step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from experiments.drill.compare import same
from lightning_petl.__main__ import main
from lightning_petl.artifacts.files import CONFIG, LABELS, WEIGHTS
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import Command

FLAGS = [
    "--trainer.max_epochs=3",
    "--checkpoint.save_top_k=-1",
    "--checkpoint.monitor=score",
]


def kept(run: Path, place: str) -> dict[str, torch.Tensor]:
    return load_file(run / place / WEIGHTS)


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    (path,) = (run / "checkpoints").glob(name)
    return torch.load(path, weights_only=True)


@pytest.fixture
def best_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three validations, of which the second is best."""
    scores = iter([0.4, 0.9, 0.5])
    monkeypatch.setattr(VideoClassifier, "on_validation_epoch_end",
                        lambda self: self.trainer.sanity_checking or self.log("score", next(scores)))  # fmt: skip


@pytest.mark.parametrize("averages", [False, True], ids=["weights", "averages"])
@pytest.mark.usefixtures("best_in_the_middle")
def test_the_best_and_the_last(averages: bool, command: Command) -> None:
    flags = (
        ["--trainer.callbacks+=EMA", "--trainer.callbacks.decay=0.5"]
        if averages
        else []
    )
    assert main(command("fit", [*FLAGS, *flags])) == 0
    run = command.runs / "version_0"
    best, last = checkpoint(run, "*step=6.ckpt"), checkpoint(run, "last.ckpt")
    expected = [
        c["callbacks"]["EMA"]["average"] if averages else c["state_dict"]
        for c in (best, last)
    ]
    assert same(kept(run, "artifact"), expected[0])
    assert same(kept(run, "artifact_last"), expected[1])
    assert not same(expected[0], expected[1])
    for place in ("artifact", "artifact_last"):
        flags = [
            "--trainer.accelerator=cpu",
            "--data.num_workers=0",
            f"--data.predict_path={command.videos / 'val'}",
        ]
        assert (
            main(
                [
                    "predict",
                    "--artifact",
                    str(run / place),
                    *command.trainer,
                    *flags,
                ]
            )
            == 0
        )


def test_where_nothing_was_chosen_both_are_the_last(command: Command) -> None:
    assert (
        main(
            command(
                "fit",
                ["--trainer.limit_val_batches=0", "--checkpoint.monitor=null"],
            )
        )
        == 0
    )
    run = command.runs / "version_0"
    assert same(kept(run, "artifact"), checkpoint(run, "last.ckpt")["state_dict"])
    for name in (WEIGHTS, LABELS, CONFIG):
        assert (run / "artifact" / name).read_bytes() == (
            run / "artifact_last" / name
        ).read_bytes()


@pytest.mark.usefixtures("best_in_the_middle")
def test_averages_that_the_best_checkpoint_lacks_are_told(command: Command) -> None:
    flags = ["--trainer.callbacks+=EMA", "--checkpoint.save_weights_only=true"]
    with pytest.warns(
        UserWarning,
        match=r"step=6\.ckpt holds no averages .*: artifact is that of the last step",
    ):
        assert main(command("fit", [*FLAGS, *flags])) == 0
    run = command.runs / "version_0"
    assert same(
        kept(run, "artifact"),
        checkpoint(run, "last.ckpt")["callbacks"]["EMA"]["average"],
    )
