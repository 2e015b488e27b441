"""The attentive probe of V-JEPA 2 (Assran et al., arXiv 2506.09985, released code)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

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
from lightning_petl.adapters.layers.tap import (
    StandardizingTap,
    Tapped,
    recompute,
    tap_indices,
)
from lightning_petl.adapters.layers.temporal import frame_sines
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.readers import Reader
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Feature, Grid

HEADS = 16
MLP_RATIO = 4
STD = 0.02
CheckpointedPart = Literal["attn", "mlp"]


class SelfAttention(nn.Module):
    """Compute attention among all tokens of all frames of a clip."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = LeanNormLinear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: FrameTokens | Normed) -> FrameTokens:
        qkv = self.qkv(x)
        q, k, v = rearrange(
            qkv, "b t n (x h c) -> x b h (t n) c", x=3, h=self.heads
        )
        y = F.scaled_dot_product_attention(q, k, v)
        frames = qkv.shape[1]
        return self.proj(rearrange(y, "b h (t n) c -> b t n (h c)", t=frames))


class CrossAttention(nn.Module):
    """Compute attention of one query to all tokens of a clip, without a projection behind it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = LeanNormLinear(dim, 2 * dim)

    def forward(
        self, query: Float[Tensor, "1 1 1 d"], x: FrameTokens | Normed
    ) -> Float[Tensor, "b 1 1 d"]:
        q = rearrange(self.q(query), "1 1 n (h c) -> 1 h n c", h=self.heads)
        k, v = rearrange(
            self.kv(x), "b t n (x h c) -> x b h (t n) c", x=2, h=self.heads
        )
        y = F.scaled_dot_product_attention(q.expand(len(k), -1, -1, -1), k, v)
        return rearrange(y, "b h n c -> b 1 n (h c)")


class Mlp(nn.Module):
    """Compute ``W_2 GELU(W_1 x)``, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = LeanNormLinear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, x: FrameTokens | Normed) -> FrameTokens:
        return self.fc2(F.gelu(self.fc1(x)))


class SelfBlock(nn.Module):
    """Compute ``x = x + SelfAttention(LN(x)); x = x + MLP(LN(x))``."""

    def __init__(self, dim: int, recipe: "AttentiveProbe") -> None:
        super().__init__()
        self.checkpoint = recipe.checkpoint
        self.norm1 = LayerNorm(dim, save_memory=recipe.save_memory)
        self.norm2 = LayerNorm(dim, save_memory=recipe.save_memory)
        self.attn = SelfAttention(dim, recipe.heads)
        self.mlp = Mlp(dim)

    def forward(self, x: FrameTokens) -> FrameTokens:
        x = x + self._part("attn", self.attn, self.norm1.split(x))
        return x + self._part("mlp", self.mlp, self.norm2.split(x))

    def _part(
        self, name: CheckpointedPart, part: nn.Module, normed: Normed
    ) -> FrameTokens:
        return recompute(part, normed) if name in self.checkpoint else part(normed)


class CrossBlock(nn.Module):
    """Compute ``y = query + CrossAttention(query, LN(x)); y + MLP(LN(y))``."""

    def __init__(self, dim: int, recipe: "AttentiveProbe") -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, save_memory=recipe.save_memory)
        self.norm2 = LayerNorm(dim, save_memory=recipe.save_memory)
        self.attn = CrossAttention(dim, recipe.heads)
        self.mlp = Mlp(dim)

    def forward(
        self, query: Float[Tensor, "1 1 1 d"], x: FrameTokens
    ) -> Float[Tensor, "b 1 1 d"]:
        y = query + self.attn(query, self.norm1.split(x))
        return y + self.mlp(self.norm2.split(y))


class Pooler(Reader):
    """Run self-attention blocks over all tokens of a clip, then let one query read them.

    Args:
        dim: width of the trunk, and of the feature.
        taps: indices of the tapped blocks.
        recipe: hyper-parameters.
    """

    reads_pixels = False

    def __init__(
        self, dim: int, taps: Sequence[int], recipe: "AttentiveProbe"
    ) -> None:
        super().__init__()
        self.feature_dim = dim
        self.frame_positions = recipe.frame_positions
        self.taps = nn.ModuleDict(
            {str(index): StandardizingTap() for index in taps}
        )
        self.blocks = nn.ModuleList(
            [SelfBlock(dim, recipe) for _ in range(recipe.blocks)]
        )
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=STD))
        self.cross = CrossBlock(dim, recipe)
        self.apply(_initialize)
        for weight, number in self._into_the_stream():
            # as released: the stream keeps its size with the depth
            weight.data.div_(math.sqrt(2 * number))

    def _into_the_stream(self) -> Iterator[tuple[Tensor, int]]:
        """Yield the last weight of every branch and its block's number; the query's MLP counts with the last one."""
        for number, block in enumerate(self.blocks, 1):
            yield from (
                (block.get_parameter(f"{name}.weight"), number)
                for name in ("attn.proj", "mlp.fc2")
            )
        yield self.cross.mlp.fc2.weight, max(1, len(self.blocks))

    @property
    def recomputed(self) -> list[nn.Module]:
        """Return the parts that the backward pass computes again."""
        parts = list[nn.Module]()
        for block in cast(list[SelfBlock], list(self.blocks)):
            parts += [block.get_submodule(name) for name in block.checkpoint]
        return parts

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> Tapped:
        """Return no tokens yet."""
        return Tapped((), grid)

    def end(self, state: Tapped) -> Feature:
        """Return what the query has read of each clip."""
        x = torch.cat(state.tokens, dim=2)
        if self.frame_positions:
            x = x + frame_sines(x)
        for block in self.blocks:
            x = block(x)
        return self.cross(self.query[None, None, None], x).flatten(1)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=STD)
        nn.init.zeros_(module.bias)


@dataclass(frozen=True, kw_only=True)
class AttentiveProbe(Adapter):
    """Read the trunk's last tokens, of all frames together, with a small transformer that replaces its feature.

    ``12 D² + 13 D`` parameters a self-attention block and ``11 D² + 13 D`` behind them: 49,336,320 at D = 1024 with
    three. The published trunk ends in a norm; here the tokens are standardized, without weights. As published it knows
    the order of frames by the trunk's tokens alone, and so not at all beside an image trunk; ``frame_positions`` tells.

    Initial values: weights and query truncated normal with std 0.02, biases 0; the last layer of attention and MLP of
    block i of I divided by ``sqrt(2 i)``, the last MLP's by ``sqrt(2 I)``.

    Args:
        taps: the blocks whose tokens it reads, side by side: ``last 1``, as published, ``all``, ``odd``, ``first k``,
            ``last k`` or a list.
        blocks: self-attention blocks in front of the query: 3, as published (four blocks with the query's own), or 0:
            the query alone reads the trunk's tokens, and no frame reads another.
        heads: of every attention.
        frame_positions: add sines of the frame's number to its tokens.
        checkpoint: parts of the self-attention blocks that are computed again in the backward pass: ``attn``, ``mlp``.
        save_memory: as :class:`~lightning_petl.adapters.layers.lean_norm.Norm`.

    Raises:
        ValueError: a width of the trunk that is no multiple of ``heads``, or taps that it does not have.

    Example, which reads the last tokens::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.AttentiveProbe(blocks=1, heads=4)])
        >>> set(vit.owners.values()), vit.feature_dim
        ({'AttentiveProbe'}, 64)
    """

    taps: Blocks = "last 1"
    blocks: int = 3
    heads: int = HEADS
    frame_positions: bool = False
    checkpoint: tuple[CheckpointedPart, ...] = ()
    save_memory: bool = True

    def __post_init__(self) -> None:
        require_positive(heads=self.heads, blocks=self.blocks + 1)
        require_distinct(checkpoint=self.checkpoint)

    def attach(self, vit: VideoViT) -> None:
        if vit.dim % self.heads:
            raise ValueError(
                f"heads {self.heads} do not divide the width {vit.dim} of {vit.name!r}"
            )
        vit.add_reader(
            self.name, Pooler(vit.dim, tap_indices(self.taps, vit.depth), self)
        )
