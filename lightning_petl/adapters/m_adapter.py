"""M-adapter (Li, Xu, Wu, Li, Yang, Shen and Kittler, CVIU 249, 2024), a re-implementation from the abstract.

No equation, size or code of the paper is public. Its abstract says: a branch in parallel with the frozen trunk adapts
the trunk's multi-level outputs, without back-propagation through it; the branch combines M-adapters hierarchically, and
each of them is a fusion module and a temporal module. How, is our reading; no number of the paper applies to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from lightning_petl.adapters.adapter import (
    Adapter,
    require_distinct,
    require_positive,
)
from lightning_petl.adapters.layers.lean_norm import (
    FrameTokens,
    LayerNorm,
    LeanNormLinear,
    Normed,
)
from lightning_petl.adapters.layers.tap import TapProjection, recompute, tap_indices
from lightning_petl.adapters.layers.temporal import MIXINGS, TemporalMixing
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.readers import Reader
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Feature, Grid, Tokens

# a gate moves ten times as fast as its parameter
TEMPERATURE = 0.1
Combine = Literal["chain", "tree", "parallel"]
Pool = Literal["cls", "gap", "both"]
Module = Literal["fusion", "temporal"]


class BranchState(NamedTuple):
    """Hold what the levels so far were combined to (several tensors while a tree waits), and how to go on."""

    tokens: tuple[FrameTokens, ...]
    shares: Float[Tensor, " m"] | None
    grid: Grid


class Fusion(nn.Module):
    """Compute ``V_2 GELU(V_1 x)``, as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = LeanNormLinear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: FrameTokens | Normed) -> FrameTokens:
        return self.fc2(F.gelu(self.fc1(x)))


class Temporal(nn.Module):
    """Compute ``W_up mix(W_down x)`` where ``mix`` joins the frames of each token; W_up and its bias are 0 at init."""

    def __init__(self, width: int, bottleneck: int, mixing: TemporalMixing) -> None:
        super().__init__()
        self.down = LeanNormLinear(width, bottleneck)
        self.mix = MIXINGS[mixing](bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: FrameTokens | Normed) -> FrameTokens:
        return self.up(self.mix(self.down(x)))


class Unit(nn.Module):
    """Compute one M-adapter of a level u and of the branch s that comes in.

    With ``g = sigmoid(a / 0.1)`` and a = 0 at init::

        h = g s + (1 - g) u
        f = h + Fusion(LN(h))
        s = f + Temporal(LN(f))

    Where nothing comes in, h = u.
    """

    def __init__(self, recipe: "MAdapter", *, gated: bool) -> None:
        super().__init__()
        width = recipe.width
        self.checkpoint = recipe.checkpoint
        self.gate = nn.Parameter(torch.zeros(1)) if gated else None
        temporal = Temporal(width, recipe.bottleneck or width // 2, recipe.temporal)
        self.parts = nn.ModuleDict({"fusion": Fusion(width), "temporal": temporal})
        self.norms = nn.ModuleDict(
            {
                name: LayerNorm(width, save_memory=recipe.save_memory)
                for name in self.parts
            }
        )

    def forward(
        self, level: FrameTokens, branch: FrameTokens | None = None
    ) -> FrameTokens:
        x = level if branch is None else self._gated(level, branch)
        x = x + self._part("fusion", x)
        return x + self._part("temporal", x)

    def _gated(self, level: FrameTokens, branch: FrameTokens) -> FrameTokens:
        assert self.gate is not None
        # one tensor is kept for the gate's gradient, s - u; a number without axes leaves half precision as it is
        return level + torch.sigmoid(self.gate / TEMPERATURE).squeeze() * (
            branch - level
        )

    def _part(self, name: Module, x: FrameTokens) -> FrameTokens:
        part = self.parts[name]
        normed = cast(LayerNorm, self.norms[name]).split(x)
        return recompute(part, normed) if name in self.checkpoint else part(normed)


class Level(nn.Module):
    """Compute ``u = W LN(z) + b`` of those tokens z of a block that are pooled, then those M-adapters that can run."""

    gated = True
    gates_the_first = True

    def __init__(
        self, dim: int, recipe: "MAdapter", index: int, levels: int
    ) -> None:
        super().__init__()
        self.index = index
        self.pool: Pool = recipe.pool
        self.tap = TapProjection(
            dim, recipe.width, norm="before", save_memory=recipe.save_memory
        )
        self.units = nn.ModuleList(
            [
                Unit(recipe, gated=self.gated)
                for _ in range(self.count(index, levels))
            ]
        )

    @staticmethod
    def count(index: int, levels: int) -> int:
        """Return how many M-adapters run behind level ``index`` of ``levels``."""
        return 1

    def forward(self, z: Tokens, branch: BranchState) -> BranchState:
        level = self.tap(rows(z, branch.grid, self.pool), branch.grid)
        return branch._replace(tokens=self.combine(level, branch))

    def combine(
        self, level: FrameTokens, branch: BranchState
    ) -> tuple[FrameTokens, ...]:
        """Return ``s_m = M(u_m, s_{m-1})``."""
        return (self.units[0](level, *branch.tokens),)


class TreeLevel(Level):
    """Let neighbors meet in pairs, then pairs of pairs, as soon as both are there; what is left over, at the end."""

    gates_the_first = False

    @staticmethod
    @override
    def count(index: int, levels: int) -> int:
        waiting = index.bit_count()
        return (
            waiting
            if index == levels - 1
            else waiting + 1 - (index + 1).bit_count()
        )

    @override
    def combine(
        self, level: FrameTokens, branch: BranchState
    ) -> tuple[FrameTokens, ...]:
        waiting = [*branch.tokens, level]
        for unit in self.units:
            right = waiting.pop()
            left = waiting.pop()
            waiting.append(unit(right, left))
        return tuple(waiting)


class ParallelLevel(Level):
    """Compute ``sum_m softmax(w)_m M(u_m)``, w = 0 at init."""

    gated = False
    gates_the_first = False

    @override
    def combine(
        self, level: FrameTokens, branch: BranchState
    ) -> tuple[FrameTokens, ...]:
        assert branch.shares is not None
        share = branch.shares[self.index] * self.units[0](level)
        return (branch.tokens[0] + share if branch.tokens else share,)


LEVELS: dict[Combine, type[Level]] = {
    "chain": Level,
    "tree": TreeLevel,
    "parallel": ParallelLevel,
}


class MBranch(Reader):
    """Run a :class:`Level` behind each tapped block, then the mean of the normed tokens.

    Args:
        dim: width of the trunk.
        taps: indices of the tapped blocks.
        recipe: hyper-parameters.
    """

    reads_pixels = False

    def __init__(self, dim: int, taps: Sequence[int], recipe: "MAdapter") -> None:
        super().__init__()
        self.feature_dim = recipe.width
        self.pool = recipe.pool
        level = LEVELS[recipe.combine]
        count = len(taps)
        self.shares = (
            nn.Parameter(torch.zeros(count))
            if recipe.combine == "parallel"
            else None
        )
        self.taps = nn.ModuleDict()
        for index, tap in enumerate(taps):
            self.taps[str(tap)] = level(dim, recipe, index, count)
        self.norm = LayerNorm(recipe.width, save_memory=recipe.save_memory)

    @property
    def unreachable(self) -> list[nn.Parameter]:
        """Return the gate in front of which nothing lies: of a chain's first level, or the share of a single one."""
        levels = cast(list[Level], list(self.taps.values()))
        if self.shares is not None:
            return [self.shares] if len(levels) == 1 else []
        gate = (
            cast(Unit, levels[0].units[0]).gate
            if levels[0].gates_the_first
            else None
        )
        return [] if gate is None else [gate]

    @property
    def recomputed(self) -> list[nn.Module]:
        """Return the parts that the backward pass computes again."""
        units = [module for module in self.modules() if isinstance(module, Unit)]
        parts = list[nn.Module]()
        for unit in units:
            parts += [unit.parts[name] for name in unit.checkpoint]
        return parts

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> BranchState:
        """Return no tokens yet: the branch reads no pixels."""
        return BranchState(
            (), None if self.shares is None else self.shares.softmax(0), grid
        )

    def end(self, state: BranchState) -> Feature:
        """Return the mean of the class token over frames, of the patches over frames and places, or of these two."""
        x = self.norm(state.tokens[0])
        if self.pool == "both":
            return (x[:, :, :1].mean((1, 2)) + x[:, :, 1:].mean((1, 2))) / 2
        return x.mean((1, 2))


def rows(z: Tokens, grid: Grid, pool: Pool) -> Float[Tensor, "bt m d"]:
    """Return the class token, the patches, or both; tokens never meet in the branch, so the others are not needed."""
    if pool == "both":
        return (
            torch.cat([z[:, :1], z[:, grid.patches]], dim=1)
            if grid.prefix > 1
            else z
        )
    return z[:, :1] if pool == "cls" else z[:, grid.patches]


@dataclass(frozen=True, kw_only=True)
class MAdapter(Adapter):
    """Add M-adapter, re-implemented from the abstract: a branch of width d that replaces the trunk's feature.

    Nothing is back-propagated through the trunk. Of M levels (tapped blocks) and bottleneck r a level has
    ``(2 D + D d + d) + 1 + (2 d + 2 d² + 2 d) + (2 d + d r + r + 4 r + r d + d)`` parameters, and the branch ``2 d``
    more; the tree has one fusion and one temporal module fewer. Attention has ``3 r² + 3 r`` instead of ``4 r``, the
    shift none. The chain's first gate has nothing to choose between and never moves.

    Initial values: a gate of one half, equal shares, W_up = 0, so that no frame sees another; else PyTorch's.

    Args:
        width: d, the width of the feature; 256 beside ViT-B, 384 beside ViT-L.
        bottleneck: r of the temporal module; None: half the width.
        taps: ``all``, ``quarters`` (the last block of each), ``odd``, ``first k``, ``last k`` or a list of blocks.
        combine: ``chain``, each level meets what came before; ``tree``, neighbors meet in pairs; ``parallel``, each
            level for itself, summed with softmax weights.
        temporal: ``dwconv`` over 3 frames, ``attention`` over all frames, or ``shift`` by one frame.
        pool: of the frames' class token (``cls``), patches (``gap``), or the mean of both means (``both``).
        checkpoint: modules that are computed again in the backward pass: ``fusion``, ``temporal``.
        save_memory: as :class:`~lightning_petl.adapters.layers.lean_norm.Norm`.

    Raises:
        ValueError: taps that the trunk does not have, or no class token to pool.

    Example, whose feature is that of the branch::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.MAdapter(width=32)])
        >>> vit.dim, vit.feature_dim
        (64, 32)
    """

    width: int = 256
    bottleneck: int | None = None
    taps: Blocks = "all"
    combine: Combine = "chain"
    temporal: TemporalMixing = "dwconv"
    pool: Pool = "both"
    checkpoint: tuple[Module, ...] = ()
    save_memory: bool = True

    def __post_init__(self) -> None:
        require_positive(
            width=self.width,
            bottleneck=self.width // 2
            if self.bottleneck is None
            else self.bottleneck,
        )
        require_distinct(checkpoint=self.checkpoint)

    def attach(self, vit: VideoViT) -> None:
        if self.pool != "gap" and vit.cls_token is None:
            raise ValueError(
                f"pool {self.pool!r} reads the class token; {vit.name!r} has none: take pool 'gap'"
            )
        vit.add_reader(
            self.name, MBranch(vit.dim, level_indices(self.taps, vit.depth), self)
        )


def level_indices(taps: Blocks, depth: int) -> list[int]:
    """Return the indices of the levels: as :func:`~lightning_petl.adapters.layers.tap.tap_indices`, or ``quarters``.

    Raises:
        ValueError: the choice is malformed, empty, or outside the trunk.
    """
    if taps != "quarters":
        return tap_indices(taps, depth)
    if depth < 4:
        raise ValueError(
            f"taps 'quarters' needs 4 blocks or more; the trunk has {depth}: take 'all'"
        )
    return [depth * quarter // 4 - 1 for quarter in range(1, 5)]
