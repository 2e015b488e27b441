"""Norms that keep one tensor: PyTorch's outputs, gradients and running averages, from fewer bytes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_petl.adapters.layers.lean_norm import (
    BatchNorm,
    GroupNorm,
    LayerNorm,
    LeanNormLinear,
    Norm,
    standardize,
)
from lightning_petl.cost.saved_memory import saved_bytes
from tests.tiny import shake

WIDTH = 64


class _ChannelsLast(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(-1, 1)).movedim(1, -1)


_PAIRS: dict[str, tuple[Callable[..., Norm], Callable[[], nn.Module]]] = {
    "layer": (LayerNorm, lambda: nn.LayerNorm(WIDTH)),
    "batch": (BatchNorm, lambda: _ChannelsLast(nn.BatchNorm2d(WIDTH))),
    "group": (GroupNorm, lambda: _ChannelsLast(nn.GroupNorm(32, WIDTH))),
}
every_norm = pytest.mark.parametrize("kind", _PAIRS)
lean_or_plain = pytest.mark.parametrize(
    "lean", [True, False], ids=["lean", "plain"]
)


def _pair(kind: str, lean: bool) -> tuple[Norm, nn.Module]:
    ours, theirs = (_PAIRS[kind][0](WIDTH, save_memory=lean), _PAIRS[kind][1]())
    torch.manual_seed(1)
    shake(theirs.parameters(), 0.5)
    with torch.no_grad():
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            own.copy_(other)
    return ours, theirs


def _x(dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(
        3, 4, 5, WIDTH, generator=torch.Generator().manual_seed(0), dtype=dtype
    )
    return (3 * x + 2).requires_grad_()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@lean_or_plain
@every_norm
def test_equals_pytorchs(kind: str, lean: bool, training: bool) -> None:
    """Twice in a row, so that running averages are used too; the norm alone, and before a linear layer."""
    ours, theirs = (norm.train() for norm in _pair(kind, lean))
    linear = LeanNormLinear(WIDTH, 7)
    for mode in (True, training):
        ours.train(mode), theirs.train(mode)
        x, y = _x(), _x()
        got = linear(ours.split(x)) + ours(x).sum(-1, keepdim=True)
        expected = linear(theirs(y)) + theirs(y).sum(-1, keepdim=True)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)
        for output in (got, expected):
            (
                output * torch.linspace(-1, 1, output.numel()).view_as(output)
            ).sum().backward()
        torch.testing.assert_close(x.grad, y.grad, atol=1e-5, rtol=1e-4)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-3, rtol=1e-4)
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(
            buffer, theirs.norm.get_buffer(name), atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("dims", [(-1,), (0, 1, 2), (1, 2, 4)], ids=str)
def test_gradient_by_differences(dims: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    x = (x if 4 in dims else x.flatten(-2)).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: standardize(x, dims, 1e-5), x)


def test_affine_part_has_the_gradient_of_the_unfolded_layer() -> None:
    """gamma, beta, W and b, against W LN(x) + b by PyTorch."""
    ours, theirs = _pair("layer", lean=True)
    linear, other = LeanNormLinear(WIDTH, 7), nn.Linear(WIDTH, 7)
    other.load_state_dict(linear.state_dict())
    weights = torch.linspace(-1, 1, 7)
    (linear(ours.split(_x())) * weights).sum().backward()
    (other(theirs(_x())) * weights).sum().backward()
    for own, expected in zip([*ours.parameters(), *linear.parameters()],
                             [*theirs.parameters(), *other.parameters()], strict=True):  # fmt: skip
        torch.testing.assert_close(own.grad, expected.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("autocast", "bytes_each"), [(True, 2), (False, 4)], ids=["bfloat16", "float32"]
)
@every_norm
def test_keeps_one_copy_in_the_precision_of_the_computation(
    kind: str, autocast: bool, bytes_each: int
) -> None:
    kept: dict[bool, int] = {}
    for lean in (True, False):
        norm, linear = _pair(kind, lean)[0], LeanNormLinear(WIDTH, 1)
        weights = [*norm.parameters(), *linear.parameters()]
        x = _x()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            kept[lean] = saved_bytes(lambda: linear(norm.split(x))).kept  # noqa: B023
        kept[lean] -= sum(
            4 * weight.numel() for weight in weights if weight.ndim < 3
        )
    tokens = _x().numel()
    assert (
        tokens * bytes_each <= kept[True] < tokens * bytes_each + 5_000
    )  # and statistics of clips or channels
    assert kept[False] > kept[True] + tokens * 2


def test_eval_keeps_nothing_but_what_the_linear_reads() -> None:
    norm = _pair("batch", lean=True)[0].eval()
    kept = saved_bytes(lambda: norm.split(_x()).tokens).kept
    assert kept <= 4 * WIDTH


def test_frozen_tokens_get_no_gradient() -> None:
    norm = LayerNorm(WIDTH, save_memory=True)
    assert not norm.split(_x().detach()).tokens.requires_grad
