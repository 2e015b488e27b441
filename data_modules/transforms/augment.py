"""Pixels: what training does to a square clip, the same to each of its frames. uint8 (0-255) RGB in and out.

As with space, what is random is drawn first, as plain numbers, and can be followed in a worker or on the device.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from data_modules.transforms.crops import Box, Recipe
from data_modules.transforms.operations import Step, Steps

Change = Callable[[Tensor], Tensor]
Colour = tuple[float, float, float]


class Augmentation(ABC):
    """A random change of a clip."""

    @abstractmethod
    def draw(
        self, num_frames: int, size: int, generator: np.random.Generator
    ) -> Change:
        """A picklable change of clips "t 3 size size", of plain numbers; random only in ``generator``."""


def apply(
    recipe: Recipe, changes: Sequence[Change], clip: UInt8[Tensor, "t c h w"]
) -> UInt8[Tensor, "t c size size"]:
    """Space, then each change in turn, on the device of ``clip``: frames that are already cut to the recipe's box."""
    clip = recipe(clip)
    for change in changes:
        clip = change(clip)
    return clip


@dataclass(frozen=True)
class ColourJitter(Augmentation):
    """Brightness, contrast, saturation and hue, each changed by a random factor, in random order.

    Args:
        brightness: factors are uniform over 1 - brightness to 1 + brightness, never below 0; 0 leaves it out.
        contrast: likewise.
        saturation: likewise.
        hue: largest turn either way, as a part of the colour circle; 0 leaves it out.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name, strength in vars(self).items():
            if strength < 0:
                raise ValueError(f"{name}: expected 0 or more, got {strength}")
        if self.hue > 0.5:
            raise ValueError(
                f"hue: expected at most 0.5, half of the colour circle, got {self.hue}"
            )

    def draw(self, num_frames: int, size: int, generator: np.random.Generator) -> Steps:
        """See the class."""
        strengths = {
            "Brightness": self.brightness,
            "Contrast": self.contrast,
            "Color": self.saturation,
        }
        ranges = {
            name: (max(0.0, 1 - strength), 1 + strength)
            for name, strength in strengths.items()
            if strength
        }
        if self.hue:
            ranges["Hue"] = (-self.hue, self.hue)
        steps = [
            Step(name, generator.uniform(*limits)) for name, limits in ranges.items()
        ]
        return Steps(
            tuple(steps[number] for number in generator.permutation(len(steps)))
        )


@dataclass(frozen=True)
class Grayscale(Augmentation):
    """A part of the clips (``probability``) in grey, three equal channels."""

    probability: float = 0.2

    def __post_init__(self) -> None:
        _check_probability(self.probability)

    def draw(self, num_frames: int, size: int, generator: np.random.Generator) -> Steps:
        """See the class."""
        return Steps(
            (Step("Color", 0.0),) if generator.random() < self.probability else ()
        )


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """A part of the clips lose a box, the same in every frame (Zhong et al., arXiv 1708.04896).

    The area is uniform over ``area``, the ratio height / width log-uniform over ``aspect``; the first of ten draws
    that is smaller than the frame is taken, at a uniform place, and where none is nothing is erased.

    Args:
        probability: part of the clips.
        area: smallest and largest area, as a part of the frame.
        aspect: smallest and largest height / width.
        mode: "const" paints ``mean``; "pixel" paints noise, Normal(mean, std) for each pixel of each frame, clipped.
        mean: RGB, 0-255; ImageNet's, or take the backbone's.
        std: RGB, 0-255.
    """

    probability: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    mode: Literal["const", "pixel"] = "pixel"
    mean: Colour = (123.675, 116.28, 103.53)
    std: Colour = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(
                f"area: expected 0 < smallest <= largest <= 1, got {self.area}"
            )
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(
                f"aspect: expected 0 < smallest <= largest, got {self.aspect}"
            )

    def draw(
        self, num_frames: int, size: int, generator: np.random.Generator
    ) -> Change:
        """See the class."""
        box = (
            self._box(size, generator)
            if generator.random() < self.probability
            else None
        )
        if box is None:
            return Steps()
        seed = int(generator.integers(2**63)) if self.mode == "pixel" else None
        return Erasure(box, seed, self.mean, self.std)

    def _box(self, size: int, generator: np.random.Generator) -> Box | None:
        area = size * size * generator.uniform(*self.area, size=10)
        aspect = np.exp(
            generator.uniform(
                math.log(self.aspect[0]), math.log(self.aspect[1]), size=10
            )
        )
        heights, widths = (
            np.rint(np.sqrt(area * aspect)),
            np.rint(np.sqrt(area / aspect)),
        )
        fits = (heights < size) & (widths < size)
        if not fits.any():
            return None
        height, width = int(heights[fits.argmax()]), int(widths[fits.argmax()])
        top, left = (
            generator.integers(size - height + 1),
            generator.integers(size - width + 1),
        )
        return Box(int(top), int(left), height, width)


@dataclass(frozen=True)
class Erasure:
    """A box painted over: with noise of ``seed``, or with the mean where that is None."""

    box: Box
    seed: int | None
    mean: Colour
    std: Colour

    def __call__(self, clip: UInt8[Tensor, "t 3 h w"]) -> UInt8[Tensor, "t 3 h w"]:
        """Follow it. The noise is NumPy's on every device, so that all paint the same."""
        shape = (len(clip), 3, self.box.height, self.box.width)
        noise = (
            np.zeros(shape, np.float32)
            if self.seed is None
            else _noise(shape, self.seed)
        )
        mean, std = (
            np.array(colour, np.float32)[:, None, None]
            for colour in (self.mean, self.std)
        )
        paint = np.rint(mean + std * noise).clip(0, 255).astype(np.uint8)
        clip = clip.clone()
        self.box.cut(clip).copy_(torch.from_numpy(paint))
        return clip


def _noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal(
        shape, np.float32
    )


def _check_probability(probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: expected 0 to 1, got {probability}")
