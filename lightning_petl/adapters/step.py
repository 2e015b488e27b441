"""STEP (Ponbagavathi and Roitberg, arXiv 2503.24298), a re-implementation from the abstract."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from lightning_petl.adapters.adapter import Adapter, require_positive
from lightning_petl.adapters.layers.lean_norm import (
    FrameTokens,
    LayerNorm,
    LeanNormLinear,
    Normed,
)
from lightning_petl.adapters.layers.tap import (
    StandardizingTap,
    Tapped,
    tap_indices,
)
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.readers import Reader
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Feature, Grid

HEADS = 8
STD = 0.02


class FirstRowAttention(nn.Module):
    """Compute the first row of ``W_o softmax(q k^T / sqrt(width of a head)) v``, self-attention over all rows."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = LeanNormLinear(dim, dim)
        self.kv = LeanNormLinear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Normed) -> Float[Tensor, "b 1 1 d"]:
        # the other rows of q would answer for tokens that nobody reads
        first = x._replace(tokens=x.tokens[:, :, :1])
        q = rearrange(self.q(first), "b 1 n (h c) -> b h n c", h=self.heads)
        kv = self.kv(x)
        k, v = rearrange(kv, "b 1 n (x h c) -> x b h n c", x=2, h=self.heads)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(rearrange(y, "b h n c -> b 1 n (h c)"))


class FramesInOrder(Reader):
    """Let one class token read the tokens of all frames, which know the number of their frame.

    Args:
        dim: width of the trunk, and of the feature.
        frames: of a clip.
        taps: indices of the tapped blocks.
        recipe: hyper-parameters.
    """

    reads_pixels = False

    def __init__(
        self, dim: int, frames: int, taps: Sequence[int], recipe: "STEP"
    ) -> None:
        super().__init__()
        self.feature_dim = dim
        self.taps = nn.ModuleDict(
            {str(index): StandardizingTap() for index in taps}
        )
        self.positions = nn.Parameter(_drawn(frames, dim))
        self.class_token = nn.Parameter(_drawn(1, dim))
        self.norm = LayerNorm(dim, save_memory=recipe.save_memory)
        self.attention = FirstRowAttention(dim, recipe.heads)
        self.apply(_initialize)

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> Tapped:
        """Return no tokens yet.

        Raises:
            ValueError: clips of another number of frames than there are positions.
        """
        if grid.frames != len(self.positions):
            raise ValueError(
                f"STEP has a position for each of {len(self.positions)} frames; clips have {grid.frames}"
            )
        return Tapped((), grid)

    def end(self, state: Tapped) -> Feature:
        """Return what the class token has read of each clip."""
        x = self._sequence(torch.cat(state.tokens, dim=2))
        read = self.attention(self.norm.split(x))
        return (self.class_token + read).flatten(1)

    def _sequence(self, tokens: FrameTokens) -> Float[Tensor, "b 1 m d"]:
        """Return the class token, then the tokens of all frames, each with the position of its frame."""
        placed = tokens + self.positions[:, None]
        flat = rearrange(placed, "b t n d -> b 1 (t n) d")
        first = repeat(self.class_token, "n d -> b 1 n d", b=len(flat))
        return torch.cat([first.to(flat.dtype), flat], dim=2)


def _drawn(rows: int, dim: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(rows, dim), std=STD)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=STD)
        nn.init.zeros_(module.bias)


@dataclass(frozen=True, kw_only=True)
class STEP(Adapter):
    """Read the trunk's last tokens of all frames with one class token, by one attention that knows the frames' order.

    With z_tn token n of frame t, standardized, a position p_t of each frame and a class token c::

        x_tn = z_tn + p_t,    X = [c, x_11, ..., x_TN]
        c + W_o softmax(q(LN c) k(LN X)^T / sqrt(D / h)) v(LN X)

    The abstract says: a probe by self-attention on a frozen image trunk, with a learned position of each frame, one
    class token of the whole clip, a simplified attention, and a third of the parameters of other probes. The abstracts
    of both versions were read, and neither the rest of the paper nor code. Our choice is all else: the attention is
    simpler in that no MLP stands behind it, which leaves a third of a transformer block (4 of 12 D²); there is one
    block, of which the class token alone asks; tokens of a frame are its patches and what stands in front of them,
    standardized as by a norm behind the trunk; 8 heads.

    ``4 D² + (7 + T) D`` parameters beside a trunk of width D and clips of T frames. Initial values: all weights,
    positions and the class token truncated normal with std 0.02, biases 0, the norm's gamma 1.

    Args:
        taps: the blocks whose tokens it reads, side by side: ``last 1``, ``all``, ``odd``, ``first k``, ``last k`` or
            a list.
        heads: h of the attention.
        save_memory: as :class:`~lightning_petl.adapters.layers.lean_norm.Norm`.

    Raises:
        ValueError: a width of the trunk that is no multiple of ``heads``, or taps that it does not have; later, clips
            of another number of frames.

    Example, which reads the last tokens::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.STEP()])
        >>> set(vit.owners.values()), vit.feature_dim
        ({'STEP'}, 64)
    """

    taps: Blocks = "last 1"
    heads: int = HEADS
    save_memory: bool = True

    def __post_init__(self) -> None:
        require_positive(heads=self.heads)

    def attach(self, vit: VideoViT) -> None:
        if vit.dim % self.heads:
            raise ValueError(
                f"heads {self.heads} do not divide the width {vit.dim} of {vit.name!r}"
            )
        taps = tap_indices(self.taps, vit.depth)
        reader = FramesInOrder(vit.dim, vit.grid.frames, taps, self)
        vit.add_reader(self.name, reader)
