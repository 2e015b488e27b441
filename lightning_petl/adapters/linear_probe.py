"""Linear probe: nothing but the head trains."""

from dataclasses import dataclass
from typing import ClassVar

from lightning_petl.adapters.adapter import Adapter
from lightning_petl.backbones.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Adapter):
    """Leave the trunk as it is; 0 parameters beside the head.

    Example, whose head alone trains::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.LinearProbe()])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        0
    """

    alone: ClassVar[bool] = True
    reads_text: ClassVar[bool] = True

    def attach(self, vit: Encoder) -> None:
        """Attach nothing."""
