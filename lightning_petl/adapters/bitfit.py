"""BitFit (Ben-Zaken et al., ACL 2022): train the biases."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from lightning_petl.adapters.adapter import Unfreezing, require_distinct
from lightning_petl.backbones.block import AdaptedBlock, LayerSlice
from lightning_petl.backbones.children import Extension
from lightning_petl.backbones.encoder import Blocks, Encoder
from lightning_petl.backbones.linear import BiasDelta

BiasTarget = Literal["q", "k", "v", "proj", "fc1", "fc2", "norm1", "norm2"]


@dataclass(frozen=True, kw_only=True)
class BitFit(Unfreezing):
    """Train biases alone, chosen by module and never by name. Nothing is added, nothing costs at inference.

    ViT-B/16: 102,912 parameters for all. q, k and v share one fused bias: all three together train it in place,
    a part of them trains an added vector of that part, init 0, with the same effect. EVA's q and v have biases of
    their own, and k has none. The norms inside attention and MLP, where there are any, go with norm1 and norm2.

    Args:
        targets: biases of a block; ``q k v fc1 fc2 norm2`` is the subset drawn in Multi-TuneV.
        outside: also the biases outside the blocks (patch embedding, norms before and behind the blocks).
        blocks: the blocks that it goes into.

    Example, 640 biases in each of 6 blocks, 64 of the patches and 64 of the final norm::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.BitFit()])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        3968
    """

    reads_text: ClassVar[bool] = True

    targets: tuple[BiasTarget, ...] = (
        "q",
        "k",
        "v",
        "proj",
        "fc1",
        "fc2",
        "norm1",
        "norm2",
    )
    outside: bool = True
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        if not self.targets and not self.outside:
            raise ValueError(
                "targets is empty and outside is false: BitFit would train nothing"
            )
        require_distinct(targets=self.targets)

    def parameters(self, vit: Encoder) -> Iterable[nn.Parameter]:
        for block in vit.select(self.blocks):
            for target in self.targets:
                # keys without a bias (EVA) are no reason to refuse all three
                optional = target == "k" and self._whole_qkv
                for part in block.parts(target):
                    if not self._is_slice(part):
                        yield from _bias(block, part, optional=optional)
        if self.outside:
            yield from outside_biases(vit)

    @property
    def _whole_qkv(self) -> bool:
        return set("qkv") <= set(self.targets)

    def _is_slice(self, part: LayerSlice) -> bool:
        """Return whether only a slice of the bias that it shares is meant."""
        return part.shares_bias and not self._whole_qkv

    def attach(self, vit: Encoder) -> None:
        for parameter in self.parameters(vit):
            parameter.requires_grad_(True)
        for block in vit.select(self.blocks):
            for target in self.targets:
                for part in filter(self._is_slice, block.parts(target)):
                    linear = block.linear(part.path)
                    width = linear.out_features // part.slices
                    rows = range(part.number * width, (part.number + 1) * width)
                    linear.add_delta(
                        f"{self.name}_{target}",
                        BiasDelta(rows, linear.out_features),
                    )


def outside_biases(vit: Encoder) -> Iterable[nn.Parameter]:
    """Yield the biases outside the blocks."""
    for child in vit.children():
        # blocks have targets of their own, and what methods add is no bias of the trunk
        if child is vit.blocks or isinstance(child, Extension):
            continue
        for module in child.modules():
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter):
                yield bias


def _bias(
    block: AdaptedBlock, part: LayerSlice, *, optional: bool
) -> list[nn.Parameter]:
    path, _, name = part.bias.rpartition(".")
    bias = getattr(block.get_submodule(path), name, None)
    if isinstance(bias, nn.Parameter):
        return [bias]
    if optional:
        return []
    raise ValueError(f"BitFit: {part.path} of this trunk has no bias")
