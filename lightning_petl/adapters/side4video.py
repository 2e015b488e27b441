"""Side4Video (Yao, Wu and Li, arXiv 2311.15769): a spatio-temporal network beside the frozen trunk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

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
    BatchNorm,
    FrameTokens,
    LayerNorm,
    LeanNormLinear,
    Norm,
    Normed,
    NormKind,
    channel_norm,
)
from lightning_petl.adapters.layers.tap import TapProjection, recompute, tap_indices
from lightning_petl.adapters.layers.temporal import (
    HEAD_WIDTH,
    ClipConv,
    FrameConv,
    shift,
)
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.readers import Reader
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Feature, Grid, Tokens

BranchName = Literal["conv", "attn", "mlp"]
Form = Literal["clip", "eva", "clip_retrieval", "eva_retrieval"]
Patches = Float[Tensor, "b t p d"]


class Side(NamedTuple):
    """Hold the side network's patches, its shared table of positions (class token first) and the trunk's grid."""

    patches: FrameTokens
    position: Float[Tensor, "n d"]
    grid: Grid


class TemporalConv(nn.Module):
    """Compute ``W_out DWConv(W_in x)`` with a depthwise convolution of 3 frames, zero outside; no activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = LeanNormLinear(width, width)
        self.temporal = FrameConv(width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: FrameTokens | Normed) -> FrameTokens:
        return self.outer(self.temporal(self.inner(x)))


class PatchAttention(nn.Module):
    """Compute attention of the patches of a frame to its class token and its patches; heads of width 64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = LeanNormLinear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: FrameTokens | Normed) -> Patches:
        qkv = self.qkv(x)
        t = qkv.shape[1]
        q, k, v = rearrange(
            qkv, "b t n (x h c) -> x (b t) h n c", x=3, c=HEAD_WIDTH
        )
        # the class token is a key and a value, and asks nothing
        y = F.scaled_dot_product_attention(q[:, :, 1:], k, v)
        return self.proj(rearrange(y, "(b t) h n c -> b t n (h c)", t=t))


class SideMlp(nn.Module):
    """Compute ``W_2 GELU(W_1 x)``, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = LeanNormLinear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: FrameTokens | Normed) -> FrameTokens:
        return self.fc2(F.gelu(self.fc1(x)))


class SideLayer(nn.Module):
    """Compute one layer, right behind its block of the trunk, whose tokens are z. With ``[c; p] = W LN(z) + b``::

        S = (S + p) / 2
        S = S + TemporalConv(BN(S))
        S = S + PatchAttention(LN([shift(c); S + position]))
        S = S + MLP(BN(S))

    The forms for EVA have ``[c; p] = LN(W z + b)``, and each norm behind its branch instead of before it. CLIP's form
    for retrieval has a position of the class token, too, which is added to ``shift(c)``.
    """

    def __init__(self, dim: int, recipe: "Side4Video") -> None:
        super().__init__()
        width = recipe.width
        save_memory = recipe.save_memory
        form = FORMS[recipe.form]
        self.post_norm = form.post_norm
        self.checkpoint = recipe.checkpoint
        self.tap = TapProjection(
            dim,
            width,
            norm="behind" if self.post_norm else "before",
            save_memory=save_memory,
        )
        self.norms = nn.ModuleDict(
            {
                "conv": channel_norm(recipe.norm, width, save_memory=save_memory),
                "attn": LayerNorm(width, save_memory=save_memory),
                "mlp": channel_norm(recipe.norm, width, save_memory=save_memory),
            }
        )
        # another order would draw other initial values from the same seed
        attention = PatchAttention(width)
        mlp = SideMlp(width)
        conv = TemporalConv(width)
        form.initialize(self.tap, conv, attention, mlp)
        self.branches = nn.ModuleDict({"conv": conv, "attn": attention, "mlp": mlp})

    def forward(self, z: Tokens, side: Side) -> Side:
        trunk = self.tap(z, side.grid)
        x = 0.5 * side.patches + 0.5 * trunk[:, :, side.grid.patches]
        x = x + self._branch("conv", x)
        x = x + self._branch(
            "attn", torch.cat([shift(trunk[:, :, :1]), x], dim=2) + side.position
        )
        x = x + self._branch("mlp", x)
        return side._replace(patches=x)

    def _branch(self, name: BranchName, x: FrameTokens) -> Patches:
        # the norm is outside of what is recomputed: its averages move once
        norm = cast(Norm, self.norms[name])
        branch = self.branches[name]
        inputs = x if self.post_norm else norm.split(x)
        y = recompute(branch, inputs) if name in self.checkpoint else branch(inputs)
        return norm(y) if self.post_norm else y


def _pytorch(
    tap: TapProjection, conv: TemporalConv, attention: PatchAttention, mlp: SideMlp
) -> None:
    pass


def _recognition(
    tap: TapProjection, conv: TemporalConv, attention: PatchAttention, mlp: SideMlp
) -> None:
    width = attention.proj.in_features
    _normal(attention.qkv, width**-0.5)
    _normal(attention.proj, (24 * width) ** -0.5)
    nn.init.normal_(mlp.fc1.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(mlp.fc2.weight, std=(24 * width) ** -0.5)


def _retrieval(
    tap: TapProjection, conv: TemporalConv, attention: PatchAttention, mlp: SideMlp
) -> None:
    for linear in (tap.linear, attention.qkv, attention.proj, mlp.fc1, mlp.fc2):
        _normal(linear, 0.02)
    # published as convolutions: their biases stay PyTorch's
    for pointwise in (conv.inner, conv.outer):
        nn.init.normal_(pointwise.weight, std=0.02)
    nn.init.normal_(conv.temporal.weight, std=attention.proj.in_features**-0.5)


def _clip_retrieval(
    tap: TapProjection, conv: TemporalConv, attention: PatchAttention, mlp: SideMlp
) -> None:
    _retrieval(tap, conv, attention, mlp)
    nn.init.normal_(attention.qkv.weight, std=attention.proj.in_features**-0.5)


def _normal(linear: nn.Linear, std: float) -> None:
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)


class Published(NamedTuple):
    """Say in what the four published networks differ."""

    post_norm: bool
    last_norm: bool
    class_position: bool
    position_std: float
    initialize: Callable[
        [TapProjection, TemporalConv, PatchAttention, SideMlp], None
    ]


FORMS: dict[Form, Published] = {
    "clip": Published(
        post_norm=False,
        last_norm=True,
        class_position=False,
        position_std=0.01,
        initialize=_recognition,
    ),
    "eva": Published(
        post_norm=True,
        last_norm=False,
        class_position=False,
        position_std=0.02,
        initialize=_pytorch,
    ),
    "clip_retrieval": Published(
        post_norm=False,
        last_norm=True,
        class_position=True,
        position_std=0.01,
        initialize=_clip_retrieval,
    ),
    "eva_retrieval": Published(
        post_norm=True,
        last_norm=True,
        class_position=False,
        position_std=0.02,
        initialize=_retrieval,
    ),
}


class SideNetwork(Reader):
    """Compute ``S = BN(Conv3d(video))``, a :class:`SideLayer` behind each tapped block, ``mean_{t,n} BN(S)``.

    EVA's form for recognition has no last norm.

    Args:
        dim: width of the trunk.
        grid: where its patches sit.
        patch_size: pixels.
        taps: indices of the tapped blocks.
        recipe: hyper-parameters.
    """

    def __init__(
        self,
        dim: int,
        grid: Grid,
        patch_size: tuple[int, int],
        taps: list[int],
        recipe: "Side4Video",
    ) -> None:
        super().__init__()
        self.feature_dim = width = recipe.width
        self.stem = ClipConv(
            3, width, (3, *patch_size), stride=(1, *patch_size), padding=(1, 0, 0)
        )
        self.norm_pre = channel_norm(
            recipe.norm, width, save_memory=recipe.save_memory
        )
        form = FORMS[recipe.form]
        self.norm_post = (
            channel_norm(recipe.norm, width, save_memory=recipe.save_memory)
            if form.last_norm
            else nn.Identity()
        )
        self.class_position = form.class_position
        position = torch.empty(
            form.class_position + grid.height * grid.width, width
        )
        self.position = nn.Parameter(
            nn.init.normal_(position, std=form.position_std)
        )
        self.taps = nn.ModuleDict(
            {str(index): SideLayer(dim, recipe) for index in taps}
        )

    @property
    def recomputed(self) -> list[nn.Module]:
        """Return the branches that the backward pass computes again."""
        layers = cast(list[SideLayer], list(self.taps.values()))
        branches = list[nn.Module]()
        for layer in layers:
            branches += [layer.branches[name] for name in layer.checkpoint]
        return branches

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> Side:
        """Return the patches of the stem."""
        patches = self.stem(rearrange(video, "b t c h w -> b c t h w"))
        position = self.position
        if not self.class_position:
            position = F.pad(position, (0, 0, 1, 0))
        patches = rearrange(patches, "b d t h w -> b t (h w) d")
        return Side(self.norm_pre(patches), position, grid)

    def end(self, state: Side) -> Feature:
        """Return the mean patch of each clip.

        Raises:
            ValueError: a batch of one clip in training, of which BatchNorm leaves nothing.
        """
        return self._normed(state).mean((1, 2))

    def frames(self, state: Side, grid: Grid) -> Float[Tensor, "b t d"]:
        """Return the mean patch of each frame; raises as :meth:`end`."""
        return self._normed(state).mean(2)

    def _normed(self, side: Side) -> Patches:
        norm = self.norm_post
        if (
            self.training
            and len(side.patches) == 1
            and isinstance(norm, BatchNorm)
            and not norm.sync
        ):
            raise ValueError(
                "norm 'batch' subtracts the mean of the batch, and of one clip in training nothing remains: take a "
                "batch_size of 2 or more, or norm 'group'"
            )
        return norm(side.patches)


@dataclass(frozen=True, kw_only=True)
class Side4Video(Adapter):
    """Add a network of width d beside the trunk, fed with its tokens, which replaces its feature.

    Nothing is back-propagated through the trunk. With ``n`` patches of ``P²`` pixels and ``L_t`` taps it has
    ``L_t (14 d² + 22 d + D d + 2 D) + 9 d P² + d + 4 d + n d`` parameters, the form for EVA
    ``L_t (14 d² + 24 d + D d) + 9 d P² + d + 2 d + n d``; for retrieval ``d`` more, the form for EVA ``2 d``.

    The paper's models: B/16 and B/32 ``width`` 320, L/14 512, E/14 576 with ``form`` eva and ``taps`` odd; light: B/16
    192 and L/14 320, with ``taps`` odd. Its initial values: positions with std 0.01; attention's first layer
    ``d^-1/2``, the MLP's ``(2 d)^-1/2``, the second layer of both ``(24 d)^-1/2``; for EVA: positions 0.02; the rest
    PyTorch's. For retrieval every linear layer has std 0.02 and no bias, CLIP's first of attention ``d^-1/2``, the
    convolution's over frames ``d^-1/2``, those before and behind it 0.02 (with PyTorch's bias).

    Args:
        width: d, a multiple of the head width 64; the width of the feature.
        taps: ``all``, ``odd`` (1, 3, 5, ...), ``first k``, ``last k`` or a list of blocks.
        form: ``clip``, or ``eva`` with its norms behind projection, convolution, attention and MLP; ``clip_retrieval``
            with a position of the class token, ``eva_retrieval`` with a last norm.
        norm: ``batch`` (the paper's, statistics of each process: clips meet in training), ``sync`` (of all processes)
            or ``group`` (of a clip, in 32 groups).
        checkpoint: branches that are computed again in the backward pass: ``conv``, ``attn``, ``mlp``.
        save_memory: keep standardized tokens alone, in the precision of the computation; else what PyTorch's norms
            keep.

    Raises:
        ValueError: a width that is no multiple of 64, a trunk without class token, or taps that it does not have.

    Example, whose feature is that of the side network::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.Side4Video(width=128)])
        >>> vit.dim, vit.feature_dim
        (64, 128)
    """

    width: int = 320
    taps: Blocks = "all"
    form: Form = "clip"
    norm: NormKind = "batch"
    checkpoint: tuple[BranchName, ...] = ()
    save_memory: bool = True

    def __post_init__(self) -> None:
        require_positive(width=self.width)
        if self.width % HEAD_WIDTH:
            raise ValueError(
                f"width {self.width} is not a multiple of the head width {HEAD_WIDTH}"
            )
        require_distinct(checkpoint=self.checkpoint)

    def attach(self, vit: VideoViT) -> None:
        if vit.cls_token is None:
            raise ValueError(
                f"Side4Video shifts the class token between frames; {vit.name!r} has none"
            )
        taps = tap_indices(self.taps, vit.depth)
        vit.add_reader(
            self.name, SideNetwork(vit.dim, vit.grid, vit.patch_size, taps, self)
        )
