"""Space: from frames of any size to square crops. uint8 (0-255) in and out.

Resizing is antialiased and stays in uint8, as in PIL: each of the two passes rounds and clamps. On CPU that is
over twenty times faster than in floats and within one level of it for bilinear weights.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

Interpolation = Literal["bilinear", "bicubic"]


class Box(NamedTuple):
    """A rectangle of a frame, pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, video: UInt8[Tensor, "*b h w"]) -> UInt8[Tensor, "*b h2 w2"]:
        """The part of every frame inside the box; a view."""
        return video[..., self.top : self.top + self.height, self.left : self.left + self.width]


class Transform(ABC):
    """What training does to the frames of a clip, the same to each frame."""

    @abstractmethod
    def __call__(
        self, video: UInt8[Tensor, "t c h w"], size: int, generator: np.random.Generator
    ) -> UInt8[Tensor, "t c size size"]:
        """A ``size`` x ``size`` clip; all that is random comes from ``generator``."""


@dataclass(frozen=True)
class TrainCrop(Transform):
    """A box of random area and aspect ratio, one a clip, resized (Szegedy et al., arXiv 1409.4842, sec. 6).

    The area is uniform over ``scale`` of the frame, the ratio width / height log-uniform over ``ratio``. The first
    of ten draws that fits is taken, else the largest centred box whose ratio is in range.

    Args:
        scale: smallest and largest area, as a part of the frame.
        ratio: smallest and largest width / height.
        flip: mirror half of the clips. Wrong for labels such as "from left to right".
        interpolation: weights of the resize.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale: expected 0 < smallest <= largest <= 1, got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio: expected 0 < smallest <= largest, got {self.ratio}")

    def __call__(
        self, video: UInt8[Tensor, "t c h w"], size: int, generator: np.random.Generator
    ) -> UInt8[Tensor, "t c size size"]:
        """See the class."""
        box = self.box(video.shape[-2], video.shape[-1], generator)
        mirrored = generator.random() < 0.5  # drawn either way: ``flip`` changes nothing else
        clip = resize(box.cut(video), size, size, self.interpolation)
        return clip.flip(-1) if self.flip and mirrored else clip

    def box(self, height: int, width: int, generator: np.random.Generator) -> Box:
        """The box of one clip with frames of ``height`` x ``width``."""
        area = height * width * generator.uniform(*self.scale, size=10)
        ratio = np.exp(generator.uniform(*np.log(self.ratio), size=10))
        heights, widths = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))
        fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
        place = generator.random(2)
        if not fits.any():
            return _centre_box(height, width, self.ratio)
        h, w = int(heights[fits.argmax()]), int(widths[fits.argmax()])
        return Box(int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1)), h, w)


@dataclass(frozen=True)
class EvalCrop(Transform):
    """Short side resized to size / crop_ratio, then squares of ``size``. Nothing is random, so it can train too.

    Args:
        crop_ratio: side of the crop over the short side; 0.875 takes 224 of 256.
        interpolation: weights of the resize.
    """

    crop_ratio: float = 1.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.crop_ratio <= 1:
            raise ValueError(f"crop_ratio: expected 0 < crop_ratio <= 1, got {self.crop_ratio}")

    def __call__(
        self, video: UInt8[Tensor, "t c h w"], size: int, generator: np.random.Generator
    ) -> UInt8[Tensor, "t c size size"]:
        """The centre crop."""
        return self.crops(video, size, 1)[0]

    def crops(self, video: UInt8[Tensor, "t c h w"], size: int, count: int) -> UInt8[Tensor, "s t c size size"]:
        """``count`` crops along the long side: 1, the centre, or 3, both ends and the centre between them.

        Raises:
            ValueError: for any other count.
        """
        if count not in (1, 3):
            raise ValueError(f"crops: expected 1 (centre) or 3 (start, centre, end), got {count}")
        video = self._short_side(video, round(size / self.crop_ratio))
        down, right = video.shape[-2] - size, video.shape[-1] - size
        halves = (1,) if count == 1 else (0, 1, 2)
        places = [(down // 2, k * right // 2) if right >= down else (k * down // 2, right // 2) for k in halves]
        return torch.stack([Box(top, left, size, size).cut(video) for top, left in places])

    def _short_side(self, video: UInt8[Tensor, "t c h w"], side: int) -> UInt8[Tensor, "t c h2 w2"]:
        height, width = video.shape[-2:]
        short = min(height, width)
        return resize(video, round(height * side / short), round(width * side / short), self.interpolation)


def resize(
    video: UInt8[Tensor, "t c h w"], height: int, width: int, interpolation: Interpolation
) -> UInt8[Tensor, "t c h2 w2"]:
    """To ``height`` x ``width``, antialiased; exactly the input where the size is already right."""
    return interpolate(video, size=(height, width), mode=interpolation, antialias=True)


def _centre_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    h = min(height, max(1, round(width / ratio[0])))
    w = min(width, max(1, round(height * ratio[1])))
    return Box((height - h) // 2, (width - w) // 2, h, w)
