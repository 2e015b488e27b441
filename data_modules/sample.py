"""One video: as the annotation lists it (`Clip`), and as a worker hands it on (`Sample`)."""

from pathlib import Path
from typing import Literal, NamedTuple

from jaxtyping import UInt8
from torch import Tensor

from data_modules.batch import Features
from data_modules.transforms.look import Look
from data_modules.video.color import Planes
from data_modules.video.source import Source

Split = Literal["train", "val", "test"]

OnFault = Literal["replace", "stop", "count_wrong"]
"""What is done about a video that cannot be read."""

STAND_INS = 20
"""Clips that are tried in the place of a bad one; where all of them are bad, the disk or the codec is at fault."""

PADDING = -1
"""The index of a sample that is no clip of the data set and counts nowhere."""


class Clip(NamedTuple):
    """Hold one video of an annotation.

    Attributes:
        clip_id: the annotation's name of it, or its file name.
        path: its file, its folder of frames, or its place inside a larger file.
        label: class index, -1 where it is not known.
        captions: sentences that describe it.
    """

    clip_id: str
    path: Path | Source
    label: int
    captions: tuple[str, ...] = ()


class Unrendered(NamedTuple):
    """Hold decoded planes, and the look that the training device applies to them."""

    planes: Planes
    look: Look


class Sample(NamedTuple):
    """Hold one video as it leaves a worker.

    Attributes:
        video: its views, what they are made from, or what a cache keeps of them.
        labels: one for all views, or one for each.
        clip_id: of the clip that is seen.
        epoch: in which it was drawn, from 0.
        fault: why the clip that should stand here could not be read; empty if it could.
        captions: of the clip that is seen.
        padding: whether it is no clip of the data set; it then counts nowhere.
    """

    video: UInt8[Tensor, "v t c h w"] | Unrendered | Features
    labels: tuple[int, ...]
    clip_id: str
    epoch: int
    fault: str = ""
    captions: tuple[str, ...] = ()
    padding: bool = False
