"""Linear probe: nothing but the head trains."""

from dataclasses import dataclass
from typing import ClassVar

from lightning_petl.adapters.adapter import Adapter
from lightning_petl.backbones.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Adapter):
    """Leave the trunk as it is; 0 parameters beside the head."""

    alone: ClassVar[bool] = True
    reads_text: ClassVar[bool] = True

    def attach(self, vit: Encoder) -> None:
        """Attach nothing."""
