"""What every network beside the trunk needs: which blocks it taps, and what it makes of a tap."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_petl.adapters.layers.lean_norm import LayerNorm, linear_of
from lightning_petl.backbones.encoder import Blocks, block_indices
from lightning_petl.shapes import Grid, Tokens


def tap_indices(taps: Blocks, depth: int) -> list[int]:
    """Return the indices of the tapped blocks: as :func:`block_indices`, or ``odd`` for every second, 1, 3, 5, ...

    Raises:
        ValueError: the choice is malformed, empty, or outside the trunk.
    """
    if taps == "odd" and depth > 1:
        return list(range(1, depth, 2))
    try:
        return block_indices(taps, depth)
    except ValueError as error:
        odd = ", or 'odd' for 1, 3, 5, ..." if depth > 1 else ""
        raise ValueError(f"taps: {error}{odd}") from error


class TapProjection(nn.Module):
    """``W LN(z) + b`` of the trunk's tokens z, or ``LN(W z + b)``; as clips.

    With ``before`` and ``lean``, one copy of z is kept, standardised, in the precision of the computation.

    Args:
        dim: width of the trunk.
        width: width of the side network.
        norm: LayerNorm ``before`` the projection, over ``dim``, or ``behind`` it, over ``width``.
        lean: as :class:`~lightning_petl.adapters.layers.lean_norm.Norm`.
    """

    def __init__(self, dim: int, width: int, *, norm: str, lean: bool) -> None:
        super().__init__()
        self.before = norm == "before"
        self.norm = LayerNorm(dim if self.before else width, lean=lean)
        self.linear = nn.Linear(dim, width)

    def forward(self, x: Tokens, grid: Grid) -> Float[Tensor, "b t n s"]:
        clips = grid.to_clip(x)
        return (
            linear_of(self.linear, self.norm.split(clips))
            if self.before
            else self.norm(self.linear(clips))
        )


def recompute(module: nn.Module, *inputs: Tensor | None) -> Tensor:
    """Run a module without randomness, keep its inputs alone, and run it again in the backward pass.

    No norm over the batch may be inside: its running averages would be updated twice.
    """
    if not torch.is_grad_enabled():
        return module(*inputs)
    return checkpoint(module, *inputs, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore[reportReturnType]
