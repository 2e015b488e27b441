"""Cut square crops from frames of any size. uint8 (0-255) in and out.

What is random is drawn first, from the size of the frames alone: a :class:`CropRecipe` of plain numbers, which says
what part of the frames it will read and can be followed elsewhere, in a worker or on the training device.

    frame 256 x 340        box             resized         window
    +----------------+     read from
    |     +------+   |     the file
    |     | box  |   |  -> 120 x 160   ->  224 x 224   ->  224 x 224
    |     +------+   |
    +----------------+
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from data_modules.transforms.resize import Interpolation, resize


class Box(NamedTuple):
    """Hold a rectangle of a frame, pixels; the first row and the first column are 0."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, video: UInt8[Tensor, "*b h w"]) -> UInt8[Tensor, "*b h2 w2"]:
        """Return the part of every frame inside the box, as a view."""
        bottom = self.top + self.height
        right = self.left + self.width
        return video[..., self.top : bottom, self.left : right]


@dataclass(frozen=True)
class CropRecipe:
    """Say what is done to the frames of one clip, the same to each.

    Args:
        box: the part of the upright frame that is read.
        resized: height and width that it is resized to, pixels.
        window: the square of that which is kept.
        flipped: whether it is mirrored, left to right; a label that names a side changes with it
            (:mod:`data_modules.transforms.mirror`).
        interpolation: weights of the resize.
    """

    box: Box
    resized: tuple[int, int]
    window: Box
    flipped: bool = False
    interpolation: Interpolation = "bilinear"

    def __call__(
        self, clip: UInt8[Tensor, "t c h w"]
    ) -> UInt8[Tensor, "t c size size"]:
        """Return the crop of frames that are already cut to ``box``, on their device."""
        clip = self.window.cut(resize(clip, *self.resized, self.interpolation))
        return clip.flip(-1) if self.flipped else clip


class Transform(ABC):
    """Draw a crop of each clip for training, the same for each of its frames."""

    @abstractmethod
    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> CropRecipe:
        """Return the recipe from frames of ``height`` x ``width`` to a clip of ``size`` x ``size``, pixels.

        All that is random comes from ``generator``.
        """


@dataclass(frozen=True)
class TrainCrop(Transform):
    """Cut a box of random area and aspect ratio, one a clip, and resize it (Szegedy et al., arXiv 1409.4842, sec. 6).

    The area is uniform over ``scale`` of the frame, the ratio width / height log-uniform over ``ratio``. The first
    of ten draws that fits is taken, else the largest centered box whose ratio is in range.

    Args:
        scale: smallest and largest area, as a part of the frame.
        ratio: smallest and largest width / height.
        flip: mirror half of the clips.
        interpolation: weights of the resize.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"scale: expected 0 < smallest <= largest <= 1, got {self.scale}"
            )
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(
                f"ratio: expected 0 < smallest <= largest, got {self.ratio}"
            )

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> CropRecipe:
        """Draw as the class says."""
        box = self.box(height, width, generator)
        return _squeezed(
            box, size, _mirrored(self.flip, generator), self.interpolation
        )

    def box(self, height: int, width: int, generator: np.random.Generator) -> Box:
        """Return the box of one clip with frames of ``height`` x ``width``."""
        area = height * width * generator.uniform(*self.scale, size=10)
        ratio = np.exp(generator.uniform(*np.log(self.ratio), size=10))
        heights = np.rint(np.sqrt(area / ratio))
        widths = np.rint(np.sqrt(area * ratio))
        fits = (
            (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
        )
        # Drawn even where no box fits, so that what is drawn next does not depend on the size of the frames.
        place = generator.random(2)
        if not fits.any():
            return _center_box(height, width, self.ratio)
        first = fits.argmax()
        h = int(heights[first])
        w = int(widths[first])
        top = int(place[0] * (height - h + 1))
        left = int(place[1] * (width - w + 1))
        return Box(top, left, h, w)


@dataclass(frozen=True)
class MultiScaleCrop(Transform):
    """Cut a box of a few sizes at a few places, and resize it: TSN's training crop.

    The source is Wang et al., arXiv 1705.02953, sec. 4.1.

    Height and width are drawn together from ``scales`` of the short side, at most ``max_distort`` places apart in
    that list. The box lies at one of 13 places, a quarter of the room apart:

        x . x . x
        . x . x .
        x . x . x
        . x . x .
        x . x . x

    Args:
        scales: sides of the box, as parts of the short side, largest first.
        max_distort: how far apart in ``scales`` height and width may be; 0 keeps squares.
        flip: mirror half of the clips.
        interpolation: weights of the resize.
    """

    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    max_distort: int = 1
    flip: bool = False
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(
                "scales: expected parts of the short side, "
                f"above 0 and at most 1, got {self.scales}"
            )
        if self.max_distort < 0:
            raise ValueError(
                f"max_distort: expected 0 or more, got {self.max_distort}"
            )

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> CropRecipe:
        """Draw as the class says."""
        h, w = self._sides(min(height, width), size, generator)
        down, right = _QUARTERS[generator.integers(len(_QUARTERS))]
        box = Box(down * ((height - h) // 4), right * ((width - w) // 4), h, w)
        return _squeezed(
            box, size, _mirrored(self.flip, generator), self.interpolation
        )

    def _sides(
        self, short: int, size: int, generator: np.random.Generator
    ) -> tuple[int, int]:
        """Draw height and width of the box, pixels."""
        sides: list[int] = []
        for scale in self.scales:
            side = max(1, int(short * scale))
            # As in TSN, a box that is up to two pixels off needs no resize.
            sides.append(min(size, short) if abs(side - size) < 3 else side)
        pairs: list[tuple[int, int]] = []
        for i, height in enumerate(sides):
            for k, width in enumerate(sides):
                if abs(i - k) <= self.max_distort:
                    pairs.append((height, width))
        return pairs[generator.integers(len(pairs))]


# Places of a box in quarters of the room below and beside it: corners, middles of edges and the center, then the
# centers of the quarters. Their order belongs to what a seed draws.
_QUARTERS = [
    *((0, 0), (0, 2), (0, 4)),
    *((2, 0), (2, 2), (2, 4)),
    *((4, 0), (4, 2), (4, 4)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
]


@dataclass(frozen=True)
class ShortSideJitterCrop(Transform):
    """Resize the short side to a random length, then cut a square of ``size`` at a random place (SlowFast).

    Only the square is read and resized: its side is rounded to a pixel of the frame, not of the resized frame.

    Args:
        scale: shortest and longest short side, over ``size``. (8 / 7, 10 / 7) is SlowFast's 256 to 320 pixels at
            224 (Feichtenhofer et al., arXiv 1812.03982); ST-Adapter takes (1.0, 1.15) (Pan et al., arXiv 2206.13559).
        flip: mirror half of the clips.
        interpolation: weights of the resize.
    """

    scale: tuple[float, float] = (8 / 7, 10 / 7)
    flip: bool = False
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 1 <= self.scale[0] <= self.scale[1]:
            raise ValueError(
                "scale: expected 1 <= shortest <= longest, "
                f"of the crop's size, got {self.scale}"
            )

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> CropRecipe:
        """Draw as the class says."""
        short = round(size * generator.uniform(*self.scale))
        side = max(1, round(min(height, width) * size / short))
        top = int(generator.integers(height - side + 1))
        left = int(generator.integers(width - side + 1))
        box = Box(top, left, side, side)
        return _squeezed(
            box, size, _mirrored(self.flip, generator), self.interpolation
        )


@dataclass(frozen=True)
class EvalCrop(Transform):
    """Resize the short side to size / crop_ratio, then cut squares of ``size``. Nothing is random.

    As it draws nothing, it can serve in training too.

        wide frames, resized        count 1         count 3
        +-----------------+         +---+---+---+   +---+-------+---+
        |                 |         |   | 0 |   |   | 0 |   1   | 2 |
        +-----------------+         +---+---+---+   +---+-------+---+

    Args:
        crop_ratio: side of the crop over the short side; 0.875 takes 224 of 256.
        interpolation: weights of the resize.
    """

    crop_ratio: float = 1.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 0 < self.crop_ratio <= 1:
            raise ValueError(
                f"crop_ratio: expected 0 < crop_ratio <= 1, got {self.crop_ratio}"
            )

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> CropRecipe:
        """Return the center crop; nothing is drawn."""
        resized = self._resized(height, width, size)
        window = _windows(*resized, size, 1)[0]
        whole = Box(0, 0, height, width)
        return CropRecipe(whole, resized, window, False, self.interpolation)

    def crops(
        self, video: UInt8[Tensor, "t c h w"], size: int, count: int
    ) -> list[UInt8[Tensor, "t c size size"]]:
        """Return ``count`` crops along the long side, as views: 1, the center, or 3, both ends and the center.

        Raises:
            ValueError: for any other count.
        """
        if count not in (1, 3):
            raise ValueError(
                f"crops: expected 1 (center) or 3 (start, center, end), got {count}"
            )
        height, width = self._resized(video.shape[-2], video.shape[-1], size)
        video = resize(video, height, width, self.interpolation)
        return [
            window.cut(video) for window in _windows(height, width, size, count)
        ]

    def _resized(self, height: int, width: int, size: int) -> tuple[int, int]:
        side = round(size / self.crop_ratio)
        short = min(height, width)
        return round(height * side / short), round(width * side / short)


def _squeezed(
    box: Box, size: int, flipped: bool, interpolation: Interpolation
) -> CropRecipe:
    return CropRecipe(
        box, (size, size), Box(0, 0, size, size), flipped, interpolation
    )


def _mirrored(flip: bool, generator: np.random.Generator) -> bool:
    # Drawn either way, so that ``flip`` changes nothing else.
    drawn = bool(generator.random() < 0.5)
    return drawn and flip


def _windows(height: int, width: int, size: int, count: int) -> list[Box]:
    """Return the squares of ``size`` along the long side, in the middle of the short one."""
    down = height - size
    right = width - size
    boxes: list[Box] = []
    # Half a way each: 1 is the center, 0 and 2 are the ends.
    for half in (1,) if count == 1 else (0, 1, 2):
        if right >= down:
            boxes.append(Box(down // 2, half * right // 2, size, size))
        else:
            boxes.append(Box(half * down // 2, right // 2, size, size))
    return boxes


def _center_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    """Return the largest centered box whose width / height is within ``ratio``."""
    h = min(height, max(1, round(width / ratio[0])))
    w = min(width, max(1, round(height * ratio[1])))
    return Box((height - h) // 2, (width - w) // 2, h, w)
