"""What every network beside the trunk needs: which blocks it taps, and what it makes of a tap."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_petl.adapters.layers.lean_norm import (
    FrameTokens,
    LayerNorm,
    LeanNormLinear,
    Normed,
    standardize,
)
from lightning_petl.backbones.encoder import Blocks, block_indices
from lightning_petl.shapes import Grid, Tokens

# of the norm behind V-JEPA 2's trunk
EPS = 1e-6


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


class Tapped(NamedTuple):
    """Hold tokens of the blocks tapped so far, as clips, and where the trunk's patches sit."""

    tokens: tuple[FrameTokens, ...]
    grid: Grid


class StandardizingTap(nn.Module):
    """Standardize a block's tokens, as the norm behind a trunk would, and keep them for the end of the trunk."""

    def forward(self, z: Tokens, tapped: Tapped) -> Tapped:
        tokens = standardize(tapped.grid.to_clip(z), (-1,), EPS)
        return tapped._replace(tokens=(*tapped.tokens, tokens))


class TapProjection(nn.Module):
    """Compute ``W LN(z) + b`` of the trunk's tokens z, or ``LN(W z + b)``; as clips.

    With ``before`` and ``save_memory``, one copy of z is kept, standardized, in the precision of the computation.

    Args:
        dim: width of the trunk.
        width: width of the side network.
        norm: LayerNorm ``before`` the projection, over ``dim``, or ``behind`` it, over ``width``.
        save_memory: as :class:`~lightning_petl.adapters.layers.lean_norm.Norm`.
    """

    def __init__(
        self, dim: int, width: int, *, norm: str, save_memory: bool
    ) -> None:
        super().__init__()
        self.before = norm == "before"
        self.norm = LayerNorm(
            dim if self.before else width, save_memory=save_memory
        )
        self.linear = LeanNormLinear(dim, width)

    def forward(self, x: Tokens, grid: Grid) -> Float[Tensor, "b t n s"]:
        clips = grid.to_clip(x)
        if self.before:
            return self.linear(self.norm.split(clips))
        return self.norm(self.linear(clips))


def recompute(module: nn.Module, x: Tensor | Normed) -> Tensor:
    """Run a module without randomness, keep its input alone, and run it again in the backward pass.

    No norm over the batch may be inside: its running averages would be updated twice.
    """
    if not torch.is_grad_enabled():
        return module(x)
    if isinstance(x, Tensor):
        return _checkpoint(module, x)
    # checkpoint sees the tensors among its arguments, not those inside a tuple
    return _checkpoint(lambda *normed: module(Normed(*normed)), *x)


def _checkpoint(run: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    # nothing inside is random: no state of the generators has to be kept
    return checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore[reportReturnType]
