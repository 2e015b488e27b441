"""A frozen transformer that reads text, with the extension points of the image trunk."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from jaxtyping import Int64
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.encoder import Encoder
from lightning_petl.backbones.weights.families import ACTIVATIONS, ClipActivation
from lightning_petl.backbones.weights.pretrained import weights_hash
from lightning_petl.backbones.weights.tokenizer import Tokenizer
from lightning_petl.shapes import Grid, Tokens, Words


@dataclass(frozen=True, kw_only=True)
class TextFamily:
    """Say in what published text towers differ; the values are those of LAION's CLIP.

    Args:
        vocabulary: number of tokens.
        end: the token that ends a text.
        causal: a token attends to itself and to those in front of it; else to all, the filling included.
        sentence: the token that stands for the text: the first ``end`` token, or the ``last`` place.
        activation: of the MLPs; OpenAI's CLIP has ``quick_gelu``, x sigmoid(1.702 x).
        mlp_ratio: how much wider than its tokens an MLP is.
        norm_eps: of all norms.
        projection: into the joint space: ``linear``, ``affine`` (with a bias), or ``none``.
        tokenizer: from text to tokens.
    """

    vocabulary: int = 49408
    end: int = 49407
    causal: bool = True
    sentence: Literal["end", "last"] = "end"
    activation: ClipActivation = "gelu"
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-5
    projection: Literal["linear", "affine", "none"] = "linear"
    tokenizer: Tokenizer = Tokenizer()


class AdaptedTextBlock(AdaptedBlock):
    """Adopt a timm ``Block`` for the tokens of texts; with ``causal``, none attends to what stands behind it."""

    def __init__(self, block: nn.Module, causal: bool) -> None:
        super().__init__(block)
        self.causal = causal

    def attention(self, x: Tokens, grid: Grid | None) -> Tokens:
        return self.attn(x, is_causal=self.causal)


class TextTower(Encoder):
    """Read texts with CLIP's transformer (Radford et al., ICML 2021), frozen until a method lets it train::

        x = E[ids] + P;  x = block_k(x), k = 1..depth;  tokens = N(x) W (+ b)

    Random weights are CLIP's: E normal with std 0.02, P 0.01, W width^-1/2, and in a block of L: qkv width^-1/2,
    attention's output and the MLP's (2 L width)^-1/2, the MLP's first layer (2 width)^-1/2; attention's biases 0.
    ``logit_scale`` is the logarithm of the factor of similarities, ln(1 / 0.07) at init; ``logit_bias`` is added to
    them in SigLIP, and None elsewhere.

    Args:
        embed_dim: width of the space that it shares with images.
        width: of its tokens.
        depth: number of blocks.
        heads: of attention; they divide the width.
        context_length: tokens of a text, start and end included; longer texts are cut.
        family: what differs between published towers.

    Raises:
        ValueError: a size below one, heads that do not divide the width, a context too short for start and end.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        width: int,
        depth: int,
        heads: int,
        context_length: int = 32,
        family: TextFamily = TextFamily(),
    ) -> None:
        super().__init__()
        _check_sizes(embed_dim, width, depth, heads, context_length)
        self.name = "TextTower"
        self.weights = "random"
        self.owners = {}
        self.dim = width
        self.embed_dim = embed_dim
        self.context_length = context_length
        self.family = family
        self.token_embedding = nn.Embedding(family.vocabulary, width)
        self.pos_embed = nn.Parameter(torch.empty(context_length, width))
        norm = partial(nn.LayerNorm, eps=family.norm_eps)
        block = partial(
            Block,
            width,
            heads,
            family.mlp_ratio,
            qkv_bias=True,
            norm_layer=cast(type[nn.Module], norm),
        )
        activation = cast(type[nn.Module], ACTIVATIONS[family.activation])
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            adopted = AdaptedTextBlock(block(act_layer=activation), family.causal)
            self.blocks.append(adopted)
        self.norm = norm(width)
        affine = family.projection == "affine"
        self.projection: nn.Module = nn.Identity()
        if family.projection != "none":
            self.projection = nn.Linear(width, embed_dim, bias=affine)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.logit_bias: nn.Parameter | None = None
        self._initialize()
        self.weights_hash = weights_hash(self)
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def _initialize(self) -> None:
        width = self.dim
        depth = self.depth
        self.token_embedding.weight.normal_(std=0.02)
        self.pos_embed.normal_(std=0.01)
        for weight in self.projection.parameters():
            weight.normal_(std=width**-0.5) if weight.ndim > 1 else weight.zero_()
        # the two layers that add to the stream are smaller the more blocks there are
        into_the_stream = (2 * depth * width) ** -0.5
        stds = {
            "qkv": width**-0.5,
            "proj": into_the_stream,
            "fc1": (2 * width) ** -0.5,
            "fc2": into_the_stream,
        }
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=stds[name.rpartition(".")[2]])
                if ".attn." in name:
                    module.bias.zero_()

    def embedding_parameters(self) -> Iterable[nn.Parameter]:
        """Return the tables of tokens and of positions."""
        return [*self.token_embedding.parameters(), self.pos_embed]

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "q l"]:
        """Return the tokens of texts, ``context_length`` each, where the tower is.

        Raises:
            ValueError: one of them is not text, or the tokenizer cannot be had.
        """
        return self.family.tokenizer(texts, self.context_length).to(
            self.pos_embed.device
        )

    def forward(self, ids: Int64[Tensor, "q l"]) -> Words:
        self._check(ids)
        texts, length = ids.shape
        grid = Grid(frames=1, height=1, width=length, prefix=0)
        with self.precision(ids.device):
            x = self.last_tokens(lambda: self._embed(ids), grid)
            # similarities are compared in float32
            tokens = self.projection(self.norm(x)).float()
        end = self._end(ids)
        is_word = torch.arange(length, device=ids.device) <= end[:, None]
        place = end
        if self.family.sentence == "last":
            place = torch.full_like(end, length - 1)
        sentence = tokens[torch.arange(texts, device=ids.device), place]
        return Words(tokens, is_word, sentence)

    def _embed(self, ids: Int64[Tensor, "q l"]) -> Tokens:
        return self.token_embedding(ids) + self.pos_embed[: ids.shape[1]]

    def _end(self, ids: Int64[Tensor, "q l"]) -> Int64[Tensor, " q"]:
        """Return the place of the first end token; the last place of a text without one."""
        is_end = ids == self.family.end
        return torch.where(is_end.any(1), is_end.int().argmax(1), ids.shape[1] - 1)

    def _check(self, ids: Int64[Tensor, "q l"]) -> None:
        length = ids.shape[1]
        if length > self.context_length or (
            length < self.context_length and not self.family.causal
        ):
            raise ValueError(
                f"texts have {length} tokens; {self.name} reads {self.context_length}: use its tokenize"
            )


def _check_sizes(
    embed_dim: int, width: int, depth: int, heads: int, context_length: int
) -> None:
    sizes = {"embed_dim": embed_dim, "width": width, "depth": depth, "heads": heads}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} {size} of a text tower must be above zero")
    if width % heads:
        raise ValueError(
            f"width {width} of a text tower is not a multiple of its {heads} heads"
        )
    if context_length < 3:
        raise ValueError(
            f"context_length {context_length} holds no word between start and end token: take 3 or more"
        )
