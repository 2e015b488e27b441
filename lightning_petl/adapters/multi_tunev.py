"""Multi-TuneV (Liu et al., JVCIR 109:104441, 2025): five methods in every block, as its figure places them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightning_petl.adapters.adapt_former import AdaptFormer
from lightning_petl.adapters.adapter import Adapter
from lightning_petl.adapters.bitfit import BitFit
from lightning_petl.adapters.lora import LoRA
from lightning_petl.adapters.st_adapter import STAdapter
from lightning_petl.adapters.vpt import VPT
from lightning_petl.backbones.encoder import Blocks
from lightning_petl.backbones.vit import VideoViT


@dataclass(frozen=True, kw_only=True)
class MultiTuneV(Adapter):
    """Compose five methods; the widths are a RECONSTRUCTION (reading A), for the paper's are not public.

    Inside every block, as drawn in the paper's figure::

        x1 = x  + STA_1(x)
        x2 = x1 + MSA'([cls; P; patches](x1))     # prompts only as attention input; q, k, v + LoRA + bias
        x3 = x2 + STA_2(x2)
        x4 = x3 + MLP*(LN2*(x3))                  # biases of LN2 and MLP train
        x5 = x4 + AF(x4)                          # AdaptFormer, serial

    With the SSv2 head on CLIP ViT-B/16: 16,087,470 parameters; the paper reports 16.09 M.

    Args:
        st_adapter: before attention and before the MLP.
        vpt: per block; the outputs are dropped behind attention.
        lora: on q, k and v, alpha = rank.
        bitfit: the biases that the figure marks.
        adapt_former: serial behind the block; its scale is not drawn, so 1 (AdaptFormer's own is 0.1).
        blocks: the blocks that all five go into.

    Example, with the owners of what trains::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.MultiTuneV()])
        >>> sorted(set(vit.owners.values()))
        ['AdaptFormer', 'BitFit', 'LoRA', 'STAdapter', 'VPT']
    """

    st_adapter: STAdapter = STAdapter()
    vpt: VPT = VPT(num_prompts=2)
    lora: LoRA = LoRA(targets=("q", "k", "v"))
    bitfit: BitFit = BitFit(
        targets=("q", "k", "v", "fc1", "fc2", "norm2"), outside=False
    )
    adapt_former: AdaptFormer = AdaptFormer(scale=1.0, placement="after_block")
    blocks: Blocks = "all"

    def parts(self) -> Sequence[Adapter]:
        five = (
            self.st_adapter,
            self.vpt,
            self.lora,
            self.bitfit,
            self.adapt_former,
        )
        return [replace(part, blocks=self.blocks) for part in five]

    def attach(self, vit: VideoViT) -> None:
        for part in self.parts():
            part.attach(vit)
