"""Change the pixels of a square training clip, the same in each of its frames. uint8 (0-255) RGB in and out.

As with crops, what is random is drawn first, as plain numbers, and can be followed in a worker or on the device.
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

from data_modules.transforms.crops import Box, CropRecipe
from data_modules.transforms.operations import Operation, Operations

Change = Callable[[Tensor], Tensor]
Color = tuple[float, float, float]


class Augmentation(ABC):
    """Change clips at random."""

    @abstractmethod
    def draw(
        self, num_frames: int, size: int, generator: np.random.Generator
    ) -> Change:
        """Return a change of clips "t 3 size size", which is made of plain numbers and can be pickled.

        All that is random comes from ``generator``.
        """


def apply(
    recipe: CropRecipe, changes: Sequence[Change], clip: UInt8[Tensor, "t c h w"]
) -> UInt8[Tensor, "t c size size"]:
    """Crop the clip, then change it by each of ``changes`` in turn, on its device.

    Args:
        recipe: of the crop.
        changes: what augmentations drew.
        clip: frames that are already cut to the recipe's box.
    """
    clip = recipe(clip)
    for change in changes:
        clip = change(clip)
    return clip


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue, each by a random factor, in random order.

    Args:
        brightness: factors are uniform over 1 - brightness to 1 + brightness, never below 0; 0 leaves it out.
        contrast: likewise.
        saturation: likewise.
        hue: largest turn either way, as a part of the color circle; 0 leaves it out.
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
                f"hue: expected at most 0.5, half of the color circle, got {self.hue}"
            )

    def draw(
        self, num_frames: int, size: int, generator: np.random.Generator
    ) -> Operations:
        """Draw as the class says."""
        strengths = {
            "Brightness": self.brightness,
            "Contrast": self.contrast,
            "Color": self.saturation,
        }
        steps: list[Operation] = []
        for name, strength in strengths.items():
            if strength:
                factor = generator.uniform(max(0.0, 1 - strength), 1 + strength)
                steps.append(Operation(name, factor))
        if self.hue:
            steps.append(Operation("Hue", generator.uniform(-self.hue, self.hue)))
        order = generator.permutation(len(steps))
        return Operations(tuple(steps[number] for number in order))


@dataclass(frozen=True)
class Grayscale(Augmentation):
    """Turn a part of the clips (``probability``) gray, in three equal channels."""

    probability: float = 0.2

    def __post_init__(self) -> None:
        _check_probability(self.probability)

    def draw(
        self, num_frames: int, size: int, generator: np.random.Generator
    ) -> Operations:
        """Draw as the class says."""
        if generator.random() < self.probability:
            return Operations((Operation("Color", 0.0),))
        return Operations()


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """Paint over a box in a part of the clips, the same in every frame (Zhong et al., arXiv 1708.04896).

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
    mean: Color = (123.675, 116.28, 103.53)
    std: Color = (58.395, 57.12, 57.375)

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
        """Draw as the class says."""
        if generator.random() >= self.probability:
            return Operations()
        box = self._box(size, generator)
        if box is None:
            return Operations()
        # A seed travels to the device, where the noise itself would be as large as the clip.
        seed = int(generator.integers(2**63)) if self.mode == "pixel" else None
        return Erasure(box, seed, self.mean, self.std)

    def _box(self, size: int, generator: np.random.Generator) -> Box | None:
        """Draw a box within ``size`` x ``size`` pixels; None where none of ten draws fits."""
        smallest, largest = self.aspect
        area = size * size * generator.uniform(*self.area, size=10)
        log_aspect = generator.uniform(
            math.log(smallest), math.log(largest), size=10
        )
        aspect = np.exp(log_aspect)
        heights = np.rint(np.sqrt(area * aspect))
        widths = np.rint(np.sqrt(area / aspect))
        fits = (heights < size) & (widths < size)
        if not fits.any():
            return None
        first = fits.argmax()
        height = int(heights[first])
        width = int(widths[first])
        top = int(generator.integers(size - height + 1))
        left = int(generator.integers(size - width + 1))
        return Box(top, left, height, width)


@dataclass(frozen=True)
class Erasure:
    """Paint over a box: with noise of ``seed``, or with the mean where that is None."""

    box: Box
    seed: int | None
    mean: Color
    std: Color

    def __call__(self, clip: UInt8[Tensor, "t 3 h w"]) -> UInt8[Tensor, "t 3 h w"]:
        """Return the painted clip. The noise is NumPy's on every device, so that all paint the same."""
        shape = (len(clip), 3, self.box.height, self.box.width)
        paint = self._paint(shape)
        clip = clip.clone()
        self.box.cut(clip).copy_(torch.from_numpy(paint))
        return clip

    def _paint(self, shape: tuple[int, ...]) -> UInt8[np.ndarray, "t 3 h w"]:
        mean = np.array(self.mean, np.float32)[:, None, None]
        std = np.array(self.std, np.float32)[:, None, None]
        if self.seed is None:
            noise = np.zeros(shape, np.float32)
        else:
            generator = np.random.Generator(np.random.Philox(key=self.seed))
            noise = generator.standard_normal(shape, np.float32)
        return np.rint(mean + std * noise).clip(0, 255).astype(np.uint8)


def _check_probability(probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: expected 0 to 1, got {probability}")
