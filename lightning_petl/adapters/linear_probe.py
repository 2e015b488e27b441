"""Linear probe: nothing but the head trains."""

from dataclasses import dataclass
from typing import ClassVar

from lightning_petl.adapters.adapter import Adapter
from lightning_petl.backbones.vit import VideoViT


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Adapter):
    """The trunk stays as it is; 0 parameters beside the head."""

    alone: ClassVar[bool] = True

    def attach(self, vit: VideoViT) -> None:
        """Attach nothing."""
