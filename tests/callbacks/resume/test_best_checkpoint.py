"""No checkpoint is best by a number that is none, and those of earlier versions are known."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_petl.callbacks.resume.best_checkpoint import BestCheckpoint

NAN, INF = float("nan"), float("inf")


def best(
    folder: Path,
    scores: list[float],
    *,
    mode: str,
    silent: int | None = None,
    save_top_k: int = 1,
) -> str:
    """Validate once for each score; the name of the best checkpoint."""
    callback = BestCheckpoint(
        folder, "{step}", monitor="score", mode=mode, save_top_k=save_top_k
    )
    for step, score in enumerate(scores):
        trainer = Mock(
            spec=Trainer,
            global_step=step,
            current_epoch=0,
            fit_loop=Mock(),
            loggers=[],
        )
        trainer.callback_metrics = {"score": torch.tensor(score)}
        trainer.lightning_module = Mock(silent=step == silent)
        trainer.strategy.reduce_boolean_decision = lambda decision, all=True: (
            decision
        )
        folder.mkdir(exist_ok=True)
        trainer.save_checkpoint = lambda path, *_: Path(path).touch()
        found = callback._monitor_candidates(trainer)  # pyright: ignore[reportPrivateUsage]
        callback._save_topk_checkpoint(trainer, found)  # pyright: ignore[reportPrivateUsage]
    return Path(callback.best_model_path).stem


@pytest.mark.parametrize("save_top_k", [1, 2, -1])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_number_is_better_than_none(
    bad: float, mode: str, save_top_k: int, tmp_path: Path
) -> None:
    assert (
        best(tmp_path / "a", [bad, 0.5, bad], mode=mode, save_top_k=save_top_k)
        == "step=1"
    )
    assert best(tmp_path / "b", [bad, bad], mode=mode, save_top_k=save_top_k) == ""


def test_nothing_is_best_by_a_validation_that_answered_nothing(
    tmp_path: Path,
) -> None:
    assert best(tmp_path / "a", [0.0, 0.0], mode="max", silent=0) == "step=1"
    assert best(tmp_path / "b", [0.0], mode="max", silent=0) == ""


def test_it_goes_on_with_the_state_of_lightnings_own_class() -> None:
    assert (
        BestCheckpoint(monitor="x").state_key
        == ModelCheckpoint(monitor="x").state_key
    )
