"""What a data loader hands to a model."""

from typing import NamedTuple

from jaxtyping import Int64, UInt8
from torch import Tensor


class VideoBatch(NamedTuple):
    """A batch of ``b`` videos, each seen in ``v`` views (temporal views times spatial crops).

    Attributes:
        video: RGB, 0-255. The trunk normalises with its own mean and std.
        label: class index, -1 where it is not known (prediction).
        clip_id: the annotation's name of each video, or its file name.
    """

    video: UInt8[Tensor, "b v t c h w"]
    label: Int64[Tensor, " b"]
    clip_id: list[str]
