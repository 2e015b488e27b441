"""Full fine-tuning: the control that trains everything."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from lightning_petl.adapters.adapter import Unfreezing
from lightning_petl.backbones.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Unfreezing):
    """Train every parameter of the trunk; ViT-B/16: 85,798,656.

    Example, in which every parameter trains::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.FullFineTuning()])
        >>> all(p.requires_grad for p in vit.parameters())
        True
    """

    alone: ClassVar[bool] = True
    reads_text: ClassVar[bool] = True

    def parameters(self, vit: Encoder) -> Iterable[nn.Parameter]:
        return vit.parameters()
