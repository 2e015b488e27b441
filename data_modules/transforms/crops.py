"""Space: from frames of any size to square crops. uint8 (0-255) in and out.

What is random is drawn first, from the size of the frames alone: a :class:`Recipe` of plain numbers, which says what
part of the frames it will read and can be followed elsewhere, in a worker or on the training device.

Resizing is antialiased, and each of its two passes rounds and clamps, as in PIL. On CPU it stays in uint8, which is
over twenty times faster than floats; other devices have only floats, which are within two levels of it.
"""

import re
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
        return video[
            ..., self.top : self.top + self.height, self.left : self.left + self.width
        ]


@dataclass(frozen=True)
class Recipe:
    """What is done to the frames of one clip, the same to each.

    Args:
        box: the part of the upright frame that is read.
        resized: height and width that it is resized to, pixels.
        window: the square of that which is kept.
        flipped: whether it is mirrored, left to right; a label that names a side changes with it
            (:func:`mirrored_labels`).
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
        """Follow it on frames that are already cut to ``box``, on their device."""
        clip = self.window.cut(resize(clip, *self.resized, self.interpolation))
        return clip.flip(-1) if self.flipped else clip


class Transform(ABC):
    """What training does to the frames of a clip, the same to each frame."""

    @abstractmethod
    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> Recipe:
        """From frames of ``height`` x ``width`` to a ``size`` x ``size`` clip; random only in ``generator``."""


@dataclass(frozen=True)
class TrainCrop(Transform):
    """A box of random area and aspect ratio, one a clip, resized (Szegedy et al., arXiv 1409.4842, sec. 6).

    The area is uniform over ``scale`` of the frame, the ratio width / height log-uniform over ``ratio``. The first
    of ten draws that fits is taken, else the largest centred box whose ratio is in range.

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
    ) -> Recipe:
        """See the class."""
        box = self.box(height, width, generator)
        return _squeezed(box, size, _mirrored(self.flip, generator), self.interpolation)

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
        return Box(
            int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1)), h, w
        )


@dataclass(frozen=True)
class MultiScaleCrop(Transform):
    """A box of a few sizes at a few places, resized (TSN's training crop; Wang et al., arXiv 1705.02953, sec. 4.1).

    Height and width are drawn together from ``scales`` of the short side, at most ``max_distort`` places apart in
    that list. The box lies at one of 13 places: a quarter of the room apart, all nine corners, centres of edges and
    centre, and the four centres of the quarters.

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
                f"scales: expected parts of the short side, above 0 and at most 1, got {self.scales}"
            )
        if self.max_distort < 0:
            raise ValueError(f"max_distort: expected 0 or more, got {self.max_distort}")

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> Recipe:
        """See the class."""
        short = min(height, width)
        sides = [max(1, int(short * scale)) for scale in self.scales]
        sides = [
            min(size, short) if abs(side - size) < 3 else side for side in sides
        ]  # TSN resizes by no two pixels
        places = range(len(sides))
        pairs = [
            (sides[i], sides[k])
            for i in places
            for k in places
            if abs(i - k) <= self.max_distort
        ]
        h, w = pairs[generator.integers(len(pairs))]
        down, right = _QUARTERS[generator.integers(len(_QUARTERS))]
        box = Box(down * ((height - h) // 4), right * ((width - w) // 4), h, w)
        return _squeezed(box, size, _mirrored(self.flip, generator), self.interpolation)


_QUARTERS = [(down, right) for down in (0, 2, 4) for right in (0, 2, 4)] + [
    (1, 1),
    (1, 3),
    (3, 1),
    (3, 3),
]


@dataclass(frozen=True)
class ShortSideJitterCrop(Transform):
    """The short side resized to a random length, then a square of ``size`` at a random place (SlowFast).

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
                f"scale: expected 1 <= shortest <= longest, of the crop's size, got {self.scale}"
            )

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> Recipe:
        """See the class."""
        short = round(size * generator.uniform(*self.scale))
        side = max(1, round(min(height, width) * size / short))
        top, left = (
            generator.integers(height - side + 1),
            generator.integers(width - side + 1),
        )
        box = Box(int(top), int(left), side, side)
        return _squeezed(box, size, _mirrored(self.flip, generator), self.interpolation)


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
            raise ValueError(
                f"crop_ratio: expected 0 < crop_ratio <= 1, got {self.crop_ratio}"
            )

    def draw(
        self, height: int, width: int, size: int, generator: np.random.Generator
    ) -> Recipe:
        """The centre crop; nothing is drawn."""
        resized = self._resized(height, width, size)
        return Recipe(
            Box(0, 0, height, width),
            resized,
            _windows(*resized, size, 1)[0],
            False,
            self.interpolation,
        )

    def crops(
        self, video: UInt8[Tensor, "t c h w"], size: int, count: int
    ) -> list[UInt8[Tensor, "t c size size"]]:
        """``count`` crops along the long side, as views: 1, the centre, or 3, both ends and the centre between them.

        Raises:
            ValueError: for any other count.
        """
        if count not in (1, 3):
            raise ValueError(
                f"crops: expected 1 (centre) or 3 (start, centre, end), got {count}"
            )
        height, width = self._resized(video.shape[-2], video.shape[-1], size)
        video = resize(video, height, width, self.interpolation)
        return [window.cut(video) for window in _windows(height, width, size, count)]

    def _resized(self, height: int, width: int, size: int) -> tuple[int, int]:
        side, short = round(size / self.crop_ratio), min(height, width)
        return round(height * side / short), round(width * side / short)


def resize(
    video: UInt8[Tensor, "t c h w"],
    height: int,
    width: int,
    interpolation: Interpolation,
) -> UInt8[Tensor, "t c h2 w2"]:
    """To ``height`` x ``width``, antialiased; the input itself where the size is already right."""
    if video.shape[-2:] == (height, width):
        return video
    if has_uint8_resize(video.device):
        return interpolate(
            video, size=(height, width), mode=interpolation, antialias=True
        )
    floats = video.float()
    for shape in (
        (video.shape[-2], width),
        (height, width),
    ):  # the passes of the CPU, each rounded and clamped
        floats = (
            interpolate(floats, size=shape, mode=interpolation, antialias=True)
            .round()
            .clamp(0, 255)
        )
    return floats.to(torch.uint8)


def has_uint8_resize(device: torch.device) -> bool:
    """Whether PyTorch resizes uint8 with antialiasing there: on CPU alone."""
    return device.type == "cpu"


def mirrored_labels(labels: Sequence[str]) -> dict[int, int]:
    """Return class index -> class index of the mirror image, for classes whose names say a side or a turn.

    "Pushing something from left to right" becomes "Pushing something from right to left" and back, "turn_left" becomes
    "TurnRight", "clockwise" becomes "counterclockwise". Case, underscores and hyphens do not matter. A class whose
    mirror image is not among the labels is left out here and named by :func:`unmirrored_labels`.
    """
    exact = {label: number for number, label in enumerate(labels)}
    spelled = {
        _spelled(label): number for number, label in reversed(list(enumerate(labels)))
    }
    found = {
        number: _mirror_image(label, exact, spelled)
        for number, label in enumerate(labels)
    }
    return {
        n: other
        for n, other in found.items()
        if other is not None and other != n and found[other] == n
    }


def unmirrored_labels(labels: Sequence[str]) -> list[str]:
    """Return the classes whose names say a side or a turn, but whose mirror images are no classes."""
    mirrored = mirrored_labels(labels)
    return [
        label
        for n, label in enumerate(labels)
        if n not in mirrored and _other_side(label) != _spelled(label)
    ]


_ENDINGS = ("", "ward", "wards", "hand", "handed", "most", "side", "sided")
_SIDES = [(f"left{ending}", f"right{ending}") for ending in _ENDINGS]
_TURNS = [("clockwise", "counterclockwise"), ("cw", "ccw")]
_OPPOSITE = {
    word: other for pair in _SIDES + _TURNS for word, other in (pair, pair[::-1])
}
_BOTH_SIDES = (
    "left (?:and |or )?right|right (?:and |or )?left"  # the same in the mirror
)
_NO_SIDE = "right (?:out|away|after|before|now|angle)|left (?:over|behind|alone)"  # "pulling it right out" in SSv2
_SIDED = re.compile(rf"\b(?:{_BOTH_SIDES}|{_NO_SIDE}|{'|'.join(_OPPOSITE)})\b")


def _mirror_image(
    label: str, exact: Mapping[str, int], spelled: Mapping[str, int]
) -> int | None:
    """Return the class of the mirror image; None where there is none or the name says no side."""
    same_case = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    swapped = re.sub(r"\b([Ll]eft|[Rr]ight)\b", lambda word: same_case[word[0]], label)
    if swapped != label and swapped in exact:
        return exact[swapped]
    name, other = _spelled(label), _other_side(label)
    if name == other:  # "turnleft" says a side only if there is a "turnright"
        other = re.sub("left|right", lambda part: _OPPOSITE[part[0]], name)
    if name == other:
        other = _other_letter(name, spelled)
    return spelled.get(other) if other != name else None


def _other_letter(name: str, spelled: Mapping[str, int]) -> str:
    """Return the name with l and r exchanged: "swipe r" of "swipe l", but none of the letters of an alphabet."""
    letters = {
        re.sub(r"\b[lr]\b", letter, name)
        for letter in string.ascii_lowercase
        if letter not in "lr"
    }
    if any(other in spelled for other in letters - {name}):
        return name
    return re.sub(r"\b[lr]\b", lambda letter: "r" if letter[0] == "l" else "l", name)


def _other_side(label: str) -> str:
    """Return the spelled name with left and right exchanged, and the turns."""
    return _SIDED.sub(lambda found: _OPPOSITE.get(found[0], found[0]), _spelled(label))


def _spelled(label: str) -> str:
    """Return the words of a name in small letters: "TurnLeft_2" is "turn left 2"."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).casefold()
    whole = re.sub(r"(counter|anti)[\s_-]*clockwise", "counterclockwise", parted)
    return " ".join(re.findall(r"[^\W\d_]+|\d+", whole))


def _squeezed(
    box: Box, size: int, flipped: bool, interpolation: Interpolation
) -> Recipe:
    return Recipe(box, (size, size), Box(0, 0, size, size), flipped, interpolation)


def _mirrored(flip: bool, generator: np.random.Generator) -> bool:
    return (
        bool(generator.random() < 0.5) and flip
    )  # drawn either way: ``flip`` changes nothing else


def _windows(height: int, width: int, size: int, count: int) -> list[Box]:
    down, right = height - size, width - size
    halves = (1,) if count == 1 else (0, 1, 2)
    places = [
        (down // 2, k * right // 2) if right >= down else (k * down // 2, right // 2)
        for k in halves
    ]
    return [Box(top, left, size, size) for top, left in places]


def _centre_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    h = min(height, max(1, round(width / ratio[0])))
    w = min(width, max(1, round(height * ratio[1])))
    return Box((height - h) // 2, (width - w) // 2, h, w)
