"""A frozen linear layer whose weight methods may change: ``y = delta_n(... delta_1(W x + b))``."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_petl.backbones.children import Extension
from lightning_petl.shapes import Grid

Inner = Callable[[Tensor], Tensor]
Rows = Float[Tensor, "*batch o"]


class LinearDelta(nn.Module, ABC):
    """Change one linear layer, as a step in a chain.

    Attributes:
        exclusive: what it is called in the message that refuses a second delta on its layer; None: others may follow.
    """

    exclusive: ClassVar[str | None] = None

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "*batch i"], inner: Inner, grid: Grid | None
    ) -> Rows:
        """Return the layer's output.

        Args:
            x: input of the layer.
            inner: the rest of the chain, from ``x`` to an output.
            grid: where patches and frames lie in ``x``; None where its rows are no patches of one frame.
        """

    @abstractmethod
    def fold(
        self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]
    ) -> tuple[Float[Tensor, "o i"], Float[Tensor, " o"]]:
        """Return the plain weight and bias with the same effect, in float32."""


class Layout:
    """Hold the grid of the tokens that a block works on: the block writes it, its linear layers read it.

    Attention and MLP are timm's and hand on tokens alone, so that no argument can carry it.
    """

    def __init__(self) -> None:
        self.grid: Grid | None = None


class AdaptedLinear(nn.Linear):
    """Adopt the parameters of ``linear`` under their own names and apply its deltas in stack order.

    Without deltas it is the very layer it adopted, so no key is renamed and no output changes.

    Attributes:
        layout: of what it is given; that of its block, if it has one.
    """

    def __init__(self, linear: nn.Linear) -> None:
        # not nn.Linear's own, which would draw a weight to throw away
        nn.Module.__init__(self)
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight = linear.weight
        self.bias = linear.bias
        self.deltas = Extension()
        self.layout = Layout()

    def forward(self, input: Float[Tensor, "*batch i"]) -> Rows:
        inner: Inner = super().forward
        for delta in self.deltas.values():
            inner = partial(delta, inner=inner, grid=self.layout.grid)
        return inner(input)

    def add_delta(self, name: str, delta: LinearDelta) -> None:
        """Put a delta at the end of the chain.

        Raises:
            ValueError: one of the deltas needs the layer for itself.
        """
        self.deltas.insert(name, delta)
        deltas = cast(list[LinearDelta], list(self.deltas.values()))
        alone = [delta.exclusive for delta in deltas if delta.exclusive]
        if alone and len(deltas) > 1:
            raise ValueError(
                f"{alone[0]} needs a linear layer for itself; this one has "
                f"{', '.join(self.deltas)}"
            )

    def folded(self) -> nn.Linear:
        """Return a plain layer with every delta folded into its weight and bias."""
        # a bfloat16 weight would round small updates away
        weight = self.weight.detach().float()
        bias = torch.zeros_like(weight[:, 0])
        if self.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
            bias = self.bias.detach().float()
        for delta in self.deltas.values():
            weight, bias = cast(LinearDelta, delta).fold(weight, bias)
        # a layer without bias stays so, or the folded trunk would lack timm's keys
        has_bias = self.bias is not None or bool(bias.any())  # pyright: ignore[reportUnnecessaryComparison]
        plain = nn.Linear(
            self.in_features, self.out_features, has_bias, device=weight.device
        )
        plain.weight = nn.Parameter(weight, False)
        if has_bias:
            plain.bias = nn.Parameter(bias, False)
        return plain.to(self.weight.dtype)


class ScaleDelta(LinearDelta):
    """Compute ``y = v * inner(x)`` with a vector ``v`` over the outputs, init 1.

    It cannot be exchanged with additive deltas.
    """

    def __init__(self, out_features: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.ones(out_features))

    def forward(
        self, x: Float[Tensor, "*batch i"], inner: Inner, grid: Grid | None = None
    ) -> Rows:
        return self.vector * inner(x)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return self.vector[:, None] * weight, self.vector * bias


class BiasDelta(LinearDelta):
    """Compute ``y[rows] = inner(x)[rows] + b`` with ``b`` init 0: a bias for a part of a fused layer."""

    def __init__(self, rows: range, out_features: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(len(rows)))
        self.padding = (rows.start, out_features - rows.stop)

    def forward(
        self, x: Float[Tensor, "*batch i"], inner: Inner, grid: Grid | None = None
    ) -> Rows:
        return inner(x) + nn.functional.pad(self.bias, self.padding)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight, bias + nn.functional.pad(self.bias, self.padding)
