"""What a transform that was drawn for one video can be asked, whatever drew it."""

from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from data_modules.transforms.crops import Box


@runtime_checkable
class Look(Protocol):
    """Turn frames of a video into the clips that a model sees.

    A look is plain numbers, so that a worker can draw it and the training device can
    follow it.
    """

    @property
    def box(self) -> Box:
        """Return the part of the upright frames to read."""
        ...

    @property
    def flipped(self) -> tuple[bool, ...]:
        """Return whether each clip with a label of its own is mirrored.

        The views of evaluation share one label.
        """
        ...

    def __call__(
        self, frames: UInt8[Tensor, "n c h w"]
    ) -> UInt8[Tensor, "v t c size size"]:
        """Return the clips of the frames of :attr:`box`, on the device of the frames."""
        ...
