"""What a data loader hands to a model."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Features = Mapping[str, Tensor]
"""What a cache keeps of clips in the place of their pixels, by name.

Each tensor begins with the axes ``"b v"``: clips and views.
"""


class Partners(NamedTuple):
    """Hold the other clips that mixup or CutMix blended into those of a batch.

    Attributes:
        label: class index of the other clip.
        weight: part of the loss that the clip's own label keeps, 0 to 1.
    """

    label: Int64[Tensor, " b"]
    weight: Float[Tensor, " b"]


class VideoBatch(NamedTuple):
    """Hold ``b`` videos, each seen in ``v`` views (temporal views times spatial crops).

    Attributes:
        video: RGB, 0-255, which the trunk normalizes with its own mean and std; or what
            a cache keeps of it.
        label: class index, -1 where it is not known (prediction); with captions the
            number of the video, so that clips of one video can be told.
        clip_id: the annotation's name of each video, or its file name.
        fault: why a video's file could not be read, empty where it could. In training
            another video stands in its place; in evaluation the pixels mean nothing and
            the video counts as wrong.
        partners: where clips were mixed.
        captions: of each video, where the data set has them: one in training, all that
            it has in evaluation.
        padding: in evaluation, which videos only let this rank make as many steps as
            others; they count nowhere. Empty where there are none.
    """

    video: UInt8[Tensor, "b v t c h w"] | Features
    label: Int64[Tensor, " b"]
    clip_id: list[str]
    fault: Sequence[str] = ()
    partners: Partners | None = None
    captions: Sequence[tuple[str, ...]] = ()
    padding: Sequence[bool] = ()
