"""A frozen linear layer whose weight methods may change: ``y = delta_n(... delta_1(W x + b))``."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Inner = Callable[[Tensor], Tensor]


@runtime_checkable
class LinearDelta(Protocol):
    """A change of one linear layer, as a step in a chain.

    ``forward(x, inner)`` returns the layer's output, where ``inner`` is the rest of the chain; ``fold`` gives the
    plain weight and bias with the same effect, computed in float32.
    """

    def __call__(
        self, x: Float[Tensor, "*batch i"], inner: Inner
    ) -> Float[Tensor, "*batch o"]: ...

    def fold(
        self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]
    ) -> tuple[Float[Tensor, "o i"], Float[Tensor, " o"]]: ...


class AdaptedLinear(nn.Linear):
    """Adopts the parameters of ``linear`` under their own names and applies its deltas in stack order.

    Without deltas it is the very layer it adopted, so no key is renamed and no output changes.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight
        self.bias = linear.bias
        self.deltas = nn.ModuleDict()

    def forward(self, input: Float[Tensor, "*batch i"]) -> Float[Tensor, "*batch o"]:
        inner: Inner = super().forward
        for delta in self.deltas.values():
            inner = partial(delta, inner=inner)
        return inner(input)

    def add_delta(self, name: str, delta: nn.Module) -> None:
        """Put a delta at the end of the chain.

        Raises:
            ValueError: one of the deltas needs the layer for itself (DoRA).
        """
        insert(self.deltas, name, delta)
        if len(self.deltas) > 1 and any(
            getattr(delta, "exclusive", False) for delta in self.deltas.values()
        ):
            raise ValueError(
                f"DoRA needs a linear layer for itself; this one has {', '.join(self.deltas)}"
            )

    def folded(self) -> nn.Linear:
        """Return a plain layer with every delta folded into its weight and bias."""
        weight = self.weight.detach().float()
        bias = torch.zeros_like(weight[:, 0])
        if self.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
            bias = self.bias.detach().float()
        for delta in self.deltas.values():
            weight, bias = cast(LinearDelta, delta).fold(weight, bias)
        has_bias = self.bias is not None or bool(bias.any())  # pyright: ignore[reportUnnecessaryComparison]
        plain = nn.Linear(
            self.in_features, self.out_features, has_bias, device=weight.device
        )
        plain.weight = nn.Parameter(weight, False)
        if has_bias:
            plain.bias = nn.Parameter(bias, False)
        return plain.to(self.weight.dtype)


class ScaleDelta(nn.Module):
    """``y = v * inner(x)`` with a vector ``v`` over the outputs, init 1. Not exchangeable with additive deltas."""

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.ones(out_features))

    def forward(
        self, x: Float[Tensor, "*batch i"], inner: Inner
    ) -> Float[Tensor, "*batch o"]:
        return self.vector * inner(x)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return self.vector[:, None] * weight, self.vector * bias


class BiasDelta(nn.Module):
    """``y[rows] = inner(x)[rows] + b`` with ``b`` init 0: a bias for a part of a fused layer."""

    def __init__(self, rows: range, out_features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(len(rows)))
        self.padding = (rows.start, out_features - rows.stop)

    def forward(
        self, x: Float[Tensor, "*batch i"], inner: Inner
    ) -> Float[Tensor, "*batch o"]:
        return inner(x) + nn.functional.pad(self.bias, self.padding)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight, bias + nn.functional.pad(self.bias, self.padding)


def insert(modules: nn.Module, name: str, module: nn.Module) -> None:
    """Register ``module`` as ``name``, or as ``name_2``, ``name_3`` where a stack holds a method twice."""
    free = (
        name if k == 1 else f"{name}_{k}"
        for k in range(1, len(list(modules.children())) + 2)
    )
    modules.add_module(next(key for key in free if key not in modules._modules), module)  # pyright: ignore[reportPrivateUsage]
