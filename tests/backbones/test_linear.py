"""A linear layer with deltas: a chain in stack order, folded into plain weights."""

import pytest
import torch
from torch import nn

from lightning_petl.backbones.children import Extension
from lightning_petl.backbones.linear import (
    AdaptedLinear,
    BiasDelta,
    ScaleDelta,
)


def _linear(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(8, 6, bias=bias)


def _scale() -> ScaleDelta:
    delta = ScaleDelta(6)
    nn.init.uniform_(delta.vector, 0.5, 2)
    return delta


def _shift() -> BiasDelta:
    delta = BiasDelta(range(2, 4), 6)
    nn.init.normal_(delta.bias)
    return delta


def test_without_deltas_it_is_the_layer() -> None:
    linear, x = _linear(), torch.randn(3, 8)
    ours = AdaptedLinear(linear)
    assert torch.equal(ours(x), linear(x))
    assert ours.weight is linear.weight
    assert list(ours.state_dict()) == ["weight", "bias"]


def test_deltas_apply_in_stack_order() -> None:
    linear, x, scale, shift = _linear(), torch.randn(3, 8), _scale(), _shift()
    ours = AdaptedLinear(linear)
    ours.add_delta("scale", scale)
    ours.add_delta("shift", shift)
    expected = scale.vector * linear(x)
    expected[:, 2:4] += shift.bias
    torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "order",
    [(_scale, _shift), (_shift, _scale), (_scale,), ()],
    ids=lambda o: str(len(o)),
)
def test_folded_equals_unfolded(bias: bool, order: tuple) -> None:
    ours, x = AdaptedLinear(_linear(bias)), torch.randn(3, 8)
    for build in order:
        ours.add_delta("delta", build())
    plain = ours.folded()
    assert type(plain) is nn.Linear
    torch.testing.assert_close(plain(x), ours(x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("build", [_scale, None], ids=["scale", "empty"])
def test_folding_brings_no_bias_that_the_layer_lacks(build: object) -> None:
    """Or timm's own model would not take the folded weights."""
    ours = AdaptedLinear(_linear(bias=False))
    if build:
        ours.add_delta("scale", _scale())
    assert list(ours.folded().state_dict()) == ["weight"]


def test_a_name_twice() -> None:
    modules = Extension()
    for _ in range(3):
        modules.insert("LoRA", nn.Identity())
    assert list(modules) == ["LoRA", "LoRA_2", "LoRA_3"]
