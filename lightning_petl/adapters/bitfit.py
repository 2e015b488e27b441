"""BitFit (Ben-Zaken et al., ACL 2022): train the biases."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from lightning_petl.adapters.adapter import Unfreezing, require_distinct
from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.linear import BiasDelta
from lightning_petl.backbones.vit import EXTENSIONS, Blocks, VideoViT

Target = Literal["q", "k", "v", "proj", "fc1", "fc2", "norm1", "norm2"]
_PATHS = {"proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2", "norm1": "norm1", "norm2": "norm2"}


@dataclass(frozen=True, kw_only=True)
class BitFit(Unfreezing):
    """Only biases train, chosen by module and never by name. Nothing is added, nothing costs at inference.

    ViT-B/16: 102,912 parameters for all. q, k and v share one fused bias: all three together train it in place,
    a part of them trains an added vector of that part, init 0, with the same effect.

    Args:
        targets: biases of a block; ``q k v fc1 fc2 norm2`` is the subset drawn in Multi-TuneV.
        outside: also the biases outside the blocks (patch embedding, norms before and behind the blocks).
        blocks: the blocks that it goes into.
    """

    targets: tuple[Target, ...] = ("q", "k", "v", "proj", "fc1", "fc2", "norm1", "norm2")
    outside: bool = True
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        if not self.targets and not self.outside:
            raise ValueError("targets is empty and outside is false: BitFit would train nothing")
        require_distinct(targets=self.targets)

    def parameters(self, vit: VideoViT) -> Iterable[nn.Parameter]:
        paths = [_PATHS[target] for target in self.targets if target in _PATHS]
        if set("qkv") <= set(self.targets):
            paths.append("attn.qkv")
        for block in vit.select(self.blocks):
            yield from (_bias(block, path) for path in paths)
        if self.outside:
            yield from outside_biases(vit)

    def attach(self, vit: VideoViT) -> None:
        super().attach(vit)
        parts = [] if set("qkv") <= set(self.targets) else [part for part in "qkv" if part in self.targets]
        for block in vit.select(self.blocks):
            qkv = block.linear("attn.qkv") if parts else None
            for part in parts:
                assert qkv is not None
                start = "qkv".index(part) * vit.dim
                delta = BiasDelta(range(start, start + vit.dim), 3 * vit.dim)
                qkv.add_delta(f"{self.name}_{part}", delta)


def outside_biases(vit: VideoViT) -> Iterable[nn.Parameter]:
    """Yield the biases outside the blocks."""
    for name, module in vit.named_modules():
        inside = name.split(".")[0] in ("blocks", *EXTENSIONS)
        bias = None if inside else getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            yield bias


def _bias(block: AdaptedBlock, path: str) -> nn.Parameter:
    bias = block.get_submodule(path).bias
    if not isinstance(bias, nn.Parameter):
        raise ValueError(f"BitFit: {path} of this trunk has no bias")
    return bias
