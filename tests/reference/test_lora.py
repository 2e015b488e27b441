"""LoRA and its variants against peft, and against the algebra of their inits."""

import math
from typing import Any

import pytest
import torch
from torch import nn

import data_modules.compat  # noqa: F401  # before peft, which imports torchvision through transformers
from lightning_petl.adapters import LoRA
from lightning_petl.adapters.lora import DoRADelta, LoRADelta
from lightning_petl.backbones.linear import AdaptedLinear
from tests.tiny import shake

peft = pytest.importorskip("peft")


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.Linear(24, 36)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.qkv(x)


def _ours(lora: LoRA) -> tuple[AdaptedLinear, LoRADelta]:
    linear = AdaptedLinear(_Model().qkv)
    delta = (DoRADelta if lora.dora else LoRADelta)(linear, [0], 1, lora)
    linear.add_delta("LoRA", delta)
    return linear, delta


def _theirs(**options: Any) -> nn.Module:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["qkv"], **options)
    return peft.get_peft_model(_Model(), config)


def _copy(delta: LoRADelta, model: nn.Module) -> None:
    """Give ours the values of peft's parameters."""
    layer = model.base_model.model.qkv
    with torch.no_grad():
        delta.A.copy_(layer.lora_A["default"].weight[None])
        delta.B.copy_(layer.lora_B["default"].weight[None])
        if isinstance(delta, DoRADelta):
            delta.magnitude.copy_(
                layer.lora_magnitude_vector["default"].weight[None]
            )


def _x() -> torch.Tensor:
    return torch.randn(5, 7, 24, generator=torch.Generator().manual_seed(1))


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": ({}, {}),
    "rslora": ({"rslora": True}, {"use_rslora": True}),
    "dora": ({"dora": True}, {"use_dora": True}),
    "dora_rslora": (
        {"dora": True, "rslora": True},
        {"use_dora": True, "use_rslora": True},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_output_and_gradients_equal_peft(variant: str) -> None:
    ours_options, theirs_options = VARIANTS[variant]
    theirs = _theirs(**theirs_options)
    torch.manual_seed(2)
    shake([p for p in theirs.parameters() if p.requires_grad], 0.2)
    linear, delta = _ours(
        LoRA(
            rank=4,
            alpha=6.0,
            fused="shared",
            targets=("q", "k", "v"),
            **ours_options,
        )
    )
    _copy(delta, theirs)
    torch.testing.assert_close(linear(_x()), theirs(_x()), atol=1e-6, rtol=1e-5)
    linear(_x()).square().sum().backward()
    theirs(_x()).square().sum().backward()
    layer = theirs.base_model.model.qkv
    torch.testing.assert_close(
        delta.A.grad[0], layer.lora_A["default"].weight.grad, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        delta.B.grad[0], layer.lora_B["default"].weight.grad, atol=1e-4, rtol=1e-4
    )
    merged = theirs.merge_and_unload().qkv
    torch.testing.assert_close(
        linear.folded().weight, merged.weight.data, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_dropout_equals_peft(variant: str) -> None:
    """One mask, on all that DoRA's ratio scales; the frozen output is not dropped."""
    ours_options, theirs_options = VARIANTS[variant]
    theirs = _theirs(lora_dropout=0.5, **theirs_options).train()
    shake([p for p in theirs.parameters() if p.requires_grad], 0.2)
    linear, delta = _ours(
        LoRA(
            rank=4,
            alpha=6.0,
            fused="shared",
            targets=("q", "k", "v"),
            dropout=0.5,
            **ours_options,
        )
    )
    linear.train()
    _copy(delta, theirs)
    torch.manual_seed(3)
    got = linear(_x())
    torch.manual_seed(3)
    torch.testing.assert_close(got, theirs(_x()), atol=1e-6, rtol=1e-5)


def test_dora_with_dropout_on_a_start_that_is_not_zero() -> None:
    """As if the weight were ``W - s B0 A0``, with which peft replaces the trunk's."""
    lora = LoRA(
        rank=4,
        alpha=6.0,
        fused="shared",
        targets=("q", "k", "v"),
        dropout=0.5,
        dora=True,
        init="pissa",
    )
    linear, delta = _ours(lora)
    linear.train()
    shake([delta.A, delta.B], 0.1)
    plain, twin = _ours(
        LoRA(
            rank=4,
            alpha=6.0,
            fused="shared",
            targets=("q", "k", "v"),
            dropout=0.5,
            dora=True,
        )
    )
    plain.train()
    with torch.no_grad():
        plain.weight -= 1.5 * (delta.B0 @ delta.A0)[0]
        twin.A.copy_(delta.A)
        twin.B.copy_(delta.B)
        twin.magnitude.copy_(delta.magnitude)
    torch.manual_seed(3)
    got = linear(_x())
    torch.manual_seed(3)
    torch.testing.assert_close(got, plain(_x()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("init", ["pissa", "olora", "orthogonal"])
def test_start_that_is_not_zero_leaves_the_layer(init: str) -> None:
    linear, delta = _ours(
        LoRA(rank=4, alpha=6.0, fused="shared", targets=("q", "k", "v"), init=init)
    )
    plain = _Model().qkv
    assert delta.B.abs().max() > 0.01
    torch.testing.assert_close(linear(_x()), plain(_x()), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        linear.folded().weight, plain.weight.data, atol=1e-6, rtol=0
    )


def test_pissa_is_the_best_low_rank_part() -> None:
    """``s B A`` is the truncated SVD: the rest has exactly the remaining singular values."""
    linear, delta = _ours(
        LoRA(
            rank=4, alpha=6.0, fused="shared", targets=("q", "k", "v"), init="pissa"
        )
    )
    rest = linear.weight - 1.5 * (delta.B @ delta.A)[0]
    expected = torch.linalg.svdvals(linear.weight)[4:]
    torch.testing.assert_close(
        torch.linalg.svdvals(rest)[: len(expected)], expected, atol=1e-5, rtol=1e-4
    )
    gram = (delta.A @ delta.A.mT)[0], (delta.B.mT @ delta.B)[0]
    torch.testing.assert_close(
        *gram, atol=1e-5, rtol=1e-4
    )  # the root of S on each side


def test_olora_is_the_head_of_a_qr() -> None:
    linear, delta = _ours(
        LoRA(
            rank=4, alpha=6.0, fused="shared", targets=("q", "k", "v"), init="olora"
        )
    )
    torch.testing.assert_close(
        (delta.B.mT @ delta.B)[0], torch.eye(4), atol=1e-5, rtol=0
    )
    projected = delta.B[0] @ delta.B[0].T @ linear.weight  # R_r = Q_r^T W
    torch.testing.assert_close(
        (delta.B @ delta.A)[0], projected, atol=1e-5, rtol=1e-5
    )


def test_gaussian_and_kaiming_starts() -> None:
    torch.manual_seed(0)
    wide = AdaptedLinear(nn.Linear(4096, 3))
    for init, std in (("gaussian", 1 / 4), ("kaiming", math.sqrt(1 / (3 * 4096)))):
        delta = LoRADelta(wide, [0], 1, LoRA(rank=4, init=init))
        assert delta.A.std().item() == pytest.approx(std, rel=0.05)
        assert not delta.B.any()


def test_weight_dependent_start_reads_each_slice() -> None:
    """On fused qkv each slice is decomposed for itself, not the whole of it."""
    torch.manual_seed(0)
    linear = AdaptedLinear(nn.Linear(24, 72))
    delta = LoRADelta(linear, [0, 2], 3, LoRA(rank=4, alpha=4.0, init="pissa"))
    for index, rows in enumerate((slice(0, 24), slice(48, 72))):
        rest = linear.weight[rows] - delta.B[index] @ delta.A[index]
        expected = torch.linalg.svdvals(linear.weight[rows])[4:]
        torch.testing.assert_close(
            torch.linalg.svdvals(rest)[:20], expected, atol=1e-5, rtol=1e-4
        )
