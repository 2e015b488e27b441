"""The counter of bytes, against layers whose saved tensors are known by heart."""

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from lightning_petl.cost.saved_memory import (
    Saved,
    saved_bytes,
    saved_bytes_per_clip,
)

ROWS, WIDTH = 10, 8
TENSOR = ROWS * WIDTH * 4
WEIGHT = WIDTH * WIDTH * 4


def _layers() -> nn.Sequential:
    """Each linear keeps its input, and its weight where a gradient flows on; GELU keeps its input."""
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH, bias=False),
        nn.GELU(),
        nn.Linear(WIDTH, WIDTH, bias=False),
    )


def _x(rows: int = ROWS) -> Tensor:
    return torch.randn(rows, WIDTH, requires_grad=True)


def test_counts_what_layers_keep() -> None:
    layers, x = _layers(), _x()
    assert saved_bytes(lambda: layers(x)) == Saved(3 * TENSOR + 2 * WEIGHT, 0)


def test_a_storage_counts_once_and_whole() -> None:
    x = _x()
    assert (
        saved_bytes(lambda: (x[:2] * x[2:4]).sum() + (x[:2] * x[4:6]).sum()).kept
        == TENSOR
    )


def test_without_a_graph_nothing() -> None:
    with torch.no_grad():
        assert saved_bytes(lambda: _layers()(_x())) == Saved(0, 0)


def test_freed_storages_are_not_mistaken_for_one() -> None:
    """A tensor that is saved and dropped, again and again, would reuse its address."""

    def run() -> Tensor:
        for _ in range(5):
            _x().square()
        return _x().square()

    assert saved_bytes(run).kept == 6 * TENSOR


def test_checkpointed_modules_count_inputs_and_the_largest_recomputation() -> None:
    small, large = _layers(), nn.Sequential(*_layers(), *_layers())
    x = _x()

    def run() -> Tensor:
        first = checkpoint(small, x, use_reentrant=False)
        return checkpoint(large, first, use_reentrant=False)

    got = saved_bytes(run, recomputed=[small, large])
    assert got == Saved(
        2 * TENSOR, 5 * TENSOR + 4 * WEIGHT
    )  # the input is kept already
    assert got.total == 7 * TENSOR + 4 * WEIGHT


def test_watching_leaves_no_hook() -> None:
    layers, x = _layers(), _x()
    saved_bytes(
        lambda: checkpoint(layers, x, use_reentrant=False), recomputed=[layers]
    )
    checkpoint(layers, x, use_reentrant=False).sum().backward()
    assert x.grad is not None
    assert not layers._forward_pre_hooks


def test_a_clip_more_leaves_the_weights_out() -> None:
    layers = _layers()
    assert saved_bytes_per_clip(lambda clips: layers(_x(clips * ROWS))) == Saved(
        3 * TENSOR, 0
    )

    def autocast(clips: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layers(_x(clips * ROWS))

    assert saved_bytes_per_clip(autocast) == Saved(
        3 * TENSOR // 2, 0
    )  # autocast's copies


def test_fake_tensors_count_alike() -> None:
    with FakeTensorMode():
        layers, x = _layers(), _x()
        assert saved_bytes(lambda: layers(x)) == Saved(3 * TENSOR + 2 * WEIGHT, 0)
