"""The second block class: timm's EVA blocks, with norms before or behind attention and MLP."""

from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from timm.layers.mlp import SwiGLU
from timm.layers.pos_embed_sincos import (
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    apply_rot_embed_cat,
)
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from torch import Tensor, nn

from lightning_petl.backbones.block import AdaptedBlock, LayerSlice
from lightning_petl.backbones.children import Extension, Reference
from lightning_petl.backbones.linear import AdaptedLinear, Layout
from lightning_petl.backbones.weights.families import Trunk
from lightning_petl.shapes import Grid, Tokens

Heads = Float[Tensor, "bt heads n c"]
RopeTable = Float[Tensor, "patches sin_cos"]


class EvaQKV(AdaptedLinear):
    """Adopt EVA's fused layer, whose bias is in the attention as ``q_bias`` and ``v_bias``; keys have none."""

    def __init__(self, linear: nn.Linear, attn: EvaAttention) -> None:
        # not AdaptedLinear's own: it assigns a bias, which is a property here
        nn.Module.__init__(self)
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight = linear.weight
        self.deltas = Extension()
        self.layout = Layout()
        self.attn = Reference(attn)

    @property
    def bias(self) -> Tensor | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        attn = self.attn.module
        parts = (attn.q_bias, attn.k_bias, attn.v_bias)
        biases: list[Tensor] = [part for part in parts if part is not None]
        return torch.cat(biases) if biases else None

    def folded(self) -> nn.Linear:
        """Return the layer with every delta folded; the bias is written back to where it lives."""
        plain = super().folded()
        attn = self.attn.module
        if attn.q_bias is None or attn.v_bias is None:
            return plain
        query, key, value = plain.bias.detach().chunk(3)
        attn.q_bias.data = query
        attn.v_bias.data = value
        # timm fixes the keys' bias at zero and does not save it
        attn.register_buffer("k_bias", key, persistent=bool(key.any()))
        return EvaQKV(plain, attn)


class AdaptedEvaBlock(AdaptedBlock):
    """Adopt a timm ``EvaBlock``: q, k and v fused or apart, rotary positions, inner norms, SwiGLU.

    It owns the forward pass of its attention, for timm's reads the weight of the fused ``qkv`` and never calls the
    layer. Rows that are no patches (class token, registers, prompts) are not rotated.

    Args:
        block: timm's block.
        rope: sines, then cosines of every patch. None: no rotary positions.
    """

    adopts: ClassVar[type[nn.Module]] = EvaBlock
    attn: EvaAttention  # pyright: ignore[reportIncompatibleVariableOverride]
    rope: RopeTable | None

    def __init__(self, block: nn.Module, rope: RopeTable | None = None) -> None:
        super().__init__(block)
        # other attentions of timm have another forward pass
        if type(self.attn) is not EvaAttention:
            raise TypeError(
                f"{type(self).__name__} adopts timm's EvaAttention, not {type(self.attn).__name__}"
            )
        own = dict(block.named_parameters(recurse=False))
        self.gamma_1 = own.get("gamma_1")
        self.gamma_2 = own.get("gamma_2")
        # computed from the size of the image: no file holds it
        self.register_buffer("rope", rope, persistent=False)
        if self.attn.qkv is not None:
            self.attn.qkv = EvaQKV(self.attn.qkv, self.attn)

    def attention(self, x: Tokens, grid: Grid | None) -> Tokens:
        q, k, v = self._heads(x)
        q = self.attn.q_norm(q)
        k = self.attn.k_norm(k)
        if self.rope is not None and grid is not None:
            # the table is float32 and would widen half-precision queries and keys
            q = self._rotated(q, self.rope, grid.patches).type_as(v)
            k = self._rotated(k, self.rope, grid.patches).type_as(v)
        h = F.scaled_dot_product_attention(q, k, v)
        h = rearrange(h, "b heads n c -> b n (heads c)")
        return self.attn.proj_drop(self.attn.proj(self.attn.norm(h)))

    def _heads(self, x: Tokens) -> tuple[Heads, Heads, Heads]:
        attn = self.attn
        apart = (attn.q_proj, attn.k_proj, attn.v_proj)
        parts = (
            [linear(x) for linear in apart if linear]
            if attn.qkv is None
            else attn.qkv(x).chunk(3, dim=-1)
        )
        q, k, v = (
            rearrange(z, "b n (heads c) -> b heads n c", heads=attn.num_heads)
            for z in parts
        )
        return q, k, v

    def _rotated(self, z: Heads, rope: RopeTable, patches: slice) -> Heads:
        before, here, behind = z.tensor_split((patches.start, patches.stop), dim=2)
        here = apply_rot_embed_cat(here, rope, half=self.attn.rotate_half)
        return torch.cat([before, here, behind], dim=2)

    def attn_out(self, h: Tokens) -> Tokens:
        """Return attention's output times LayerScale, where there is one."""
        return h if self.gamma_1 is None else self.gamma_1 * h

    def mlp_out(self, h: Tokens) -> Tokens:
        """Return the MLP's output times LayerScale, where there is one."""
        return h if self.gamma_2 is None else self.gamma_2 * h

    def _parts(self) -> dict[str, list[LayerSlice]]:
        parts = super()._parts()
        if self.attn.qkv is None:
            parts |= {name: [LayerSlice(f"attn.{name}_proj")] for name in "qkv"}
        else:
            parts |= {
                name: [EvaSlice("attn.qkv", index, 3)]
                for index, name in enumerate("qkv")
            }
        if isinstance(self.mlp, SwiGLU):
            gate = LayerSlice("mlp.fc1_g")
            value = LayerSlice("mlp.fc1_x")
            parts |= {"fc1": [gate, value], "fc1_g": [gate], "fc1_x": [value]}
        return parts


class EvaSlice(LayerSlice):
    """Say where a target sits in the fused layer, in which each slice has a bias of its own."""

    @property
    def bias(self) -> str:
        return f"attn.{'qkv'[self.number]}_bias"

    @property
    def shares_bias(self) -> bool:
        return False


class AdaptedPostNormBlock(AdaptedEvaBlock):
    """Adopt a timm ``EvaBlockPostNorm``: ``x = x + norm1(attn(x))``, ``x = x + norm2(mlp(x))``."""

    adopts: ClassVar[type[nn.Module]] = EvaBlockPostNorm

    def attn_in(self, x: Tokens) -> Tokens:
        return x

    def attn_out(self, h: Tokens) -> Tokens:
        return self.norm1(h)

    def mlp_in(self, x: Tokens) -> Tokens:
        return x

    def mlp_out(self, h: Tokens) -> Tokens:
        return self.norm2(h)


_EVA_BLOCKS: dict[type[nn.Module], type[AdaptedEvaBlock]] = {
    EvaBlock: AdaptedEvaBlock,
    EvaBlockPostNorm: AdaptedPostNormBlock,
}


def adopted_blocks(model: Trunk) -> nn.ModuleList:
    """Return the trunk's blocks, adopted.

    Raises:
        TypeError: blocks, attention or rotary positions of a class that is not known here.
    """
    blocks = list(cast(nn.Sequential, model.blocks))
    if not isinstance(model, Eva):
        return nn.ModuleList(AdaptedBlock(block) for block in blocks)
    # the same in every block: one table for all
    rope = _rope_table(model)
    return nn.ModuleList(
        _EVA_BLOCKS.get(type(block), AdaptedEvaBlock)(block, rope)
        for block in blocks
    )


def _rope_table(model: Eva) -> RopeTable | None:
    if model.rope is None:
        return None
    if not isinstance(model.rope, RotaryEmbeddingCat | RotaryEmbeddingDinoV3):
        raise TypeError(
            f"rotary positions of class {type(model.rope).__name__} are not the same in every block"
        )
    rope = model.rope.eval()  # in training DINOv3's positions are jittered
    with torch.no_grad():
        return rope.get_embed(
            shape=list(model.patch_embed.grid_size)
            if model.dynamic_img_size
            else None
        )
