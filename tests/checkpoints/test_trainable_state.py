"""What is in a checkpoint, that it is strict, and that a full disk costs nothing."""

import os
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_petl.adapters import BitFit, LoRA, STAdapter
from lightning_petl.checkpoints.atomic import AtomicCheckpointIO
from lightning_petl.checkpoints.random_state import RandomState
from lightning_petl.checkpoints.trainable_state import (
    check_trainable,
    load_optimizer,
    load_trainable,
    trainable_keys,
    trainable_state,
)
from lightning_petl.checkpoints.trunk_id import TrunkId
from tests.tiny import randomised


class Mixed(nn.Module):
    """A frozen layer, an adapter with BatchNorm and a norm without parameters, and a BatchNorm that is half frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Sequential(
            nn.Linear(2, 2), nn.BatchNorm1d(2)
        ).requires_grad_(False)
        self.adapter = nn.Sequential(
            nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)
        )
        self.norm = nn.BatchNorm1d(2)
        self.norm.weight.requires_grad_(False)


def test_trainable_keys_bring_their_buffers() -> None:
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    expected = {"adapter.0.weight", "adapter.0.bias", "norm.bias"}
    expected |= {
        f"{prefix}.{name}"
        for prefix in ("adapter.1", "norm")
        for name in statistics
    }
    assert trainable_keys(Mixed()) == expected


def test_round_trip_into_another_start() -> None:
    source, target = (
        randomised([STAdapter(bottleneck=4), LoRA()], 0),
        randomised([STAdapter(bottleneck=4), LoRA()], 5),
    )
    load_trainable(target, trainable_state(source))
    assert all(
        torch.equal(a, b)
        for a, b in zip(source.parameters(), target.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("norm.bias"),
            r"1 trainable tensor\(s\) missing: norm\.bias",
        ),
        (
            lambda s: s.update(extra=torch.zeros(1)),
            r"1 trainable tensor\(s\) unexpected: extra",
        ),
        (
            lambda s: s.update({"norm.bias": torch.zeros(3)}),
            r"1 trainable tensor\(s\) of another shape: norm\.bias \(3,\), here \(2,\)",
        ),
    ],
)
def test_another_stack_is_refused_by_name(change: object, message: str) -> None:
    state = trainable_state(Mixed())
    change(state)  # pyright: ignore[reportCallIssue]
    with pytest.raises(
        ValueError, match=f"another stack of adapters or another head: {message}"
    ):
        check_trainable(Mixed(), state)


def test_another_method_is_refused() -> None:
    with pytest.raises(ValueError, match="another stack"):
        load_trainable(
            randomised([BitFit()]), trainable_state(randomised([LoRA()]))
        )


def test_another_trunk_is_refused() -> None:
    TrunkId("a", "1234").require(TrunkId("b", "1234"))
    with pytest.raises(
        ValueError,
        match=r"trained on the trunk 'a' .*1234.* this trunk is 'b' .*5678",
    ):
        TrunkId("a", "1234").require(TrunkId("b", "5678"))


def draw() -> tuple[float, float, float, float]:
    # two normal draws each: the second comes from the generators' cache
    return (
        random.gauss(0, 1),
        np.random.normal(),
        torch.randn(1).item(),
        np.random.rand(),
    )


def test_random_state_comes_back_from_a_weights_only_file(tmp_path: Path) -> None:
    draw()  # leaves half a pair in the caches of python and numpy
    torch.save(list(RandomState.now()), tmp_path / "state.pt")
    expected = [draw() for _ in range(3)]
    RandomState(*torch.load(tmp_path / "state.pt", weights_only=True)).restore()
    assert [draw() for _ in range(3)] == expected


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond ``size`` bytes: what a full disk looks like to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def big(value: float) -> dict[str, Tensor]:
    return {"weights": torch.full((50_000,), value)}


def test_the_previous_checkpoint_survives_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(big(1.0), path)
    with (
        file_size_limit(60_000),
        pytest.raises(
            OSError, match=r"could not write .*last\.ckpt.*previous file is unt"
        ),
    ):
        AtomicCheckpointIO().save_checkpoint(big(2.0), path)
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert torch.equal(torch.load(path)["weights"], big(1.0)["weights"])


def test_nothing_is_left_behind_where_nothing_was(tmp_path: Path) -> None:
    with (
        file_size_limit(60_000),
        pytest.raises(OSError, match="nothing was written"),
    ):
        AtomicCheckpointIO().save_checkpoint(big(2.0), tmp_path / "last.ckpt")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"could not write .*file/last\.ckpt"):
        AtomicCheckpointIO().save_checkpoint(
            big(1.0), tmp_path / "file" / "last.ckpt"
        )


def test_moments_of_no_parameter_are_refused() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    load_optimizer(optimizer, state)
    state["state"][7] = state["state"][0]
    with pytest.raises(ValueError, match="moments of parameter 7"):
        load_optimizer(optimizer, state)
