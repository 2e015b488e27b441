"""What is seen of a video: which frames, which part of them, and the clips that are made of it.

A look is plain numbers: drawn in a worker, followed there or on the training device.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int64, UInt8
from torch import Tensor

from data_modules.sampling.schemes import Length, Sampling
from data_modules.transforms.augment import Augmentation, Change, apply
from data_modules.transforms.crops import Box, CropRecipe, EvalCrop, Transform
from data_modules.transforms.look import Look


class View(ABC):
    """What is seen of a video, in two draws: frames by its length, then the look by the size of its frames.

    Attributes:
        size: side of the square clips, pixels.
        sampling: which frames.
    """

    size: int
    sampling: Sampling

    @abstractmethod
    def indices(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Frames to read, by rank from 0."""

    @abstractmethod
    def look(self, height: int, width: int, generator: np.random.Generator) -> Look:
        """What to make of them."""


class Views(NamedTuple):
    """How often evaluation looks at a video; written "temporal x spatial", as in "4x3"."""

    temporal: int
    spatial: int

    @classmethod
    def parse(cls, text: str) -> "Views":
        """From such as "1x3".

        Raises:
            ValueError: not two numbers, no temporal view, or other than 1 or 3 crops.
        """
        temporal, _, spatial = text.partition("x")
        if not temporal.isdecimal() or int(temporal) < 1 or spatial not in ("1", "3"):
            raise ValueError(
                f"views: expected temporal x spatial such as '1x1' or '4x3', 1 or 3 crops; got {text!r}"
            )
        return cls(int(temporal), int(spatial))


@dataclass(frozen=True)
class TrainLook:
    """One or more clips of the same frames, each drawn on its own."""

    recipes: Sequence[CropRecipe]
    changes: Sequence[Sequence[Change]]

    @property
    def box(self) -> Box:
        """The smallest that holds those of all clips."""
        boxes = [recipe.box for recipe in self.recipes]
        top, left = min(box.top for box in boxes), min(box.left for box in boxes)
        bottom, right = (
            max(box.top + box.height for box in boxes),
            max(box.left + box.width for box in boxes),
        )
        return Box(top, left, bottom - top, right - left)

    @property
    def flipped(self) -> tuple[bool, ...]:
        """Each clip has a label of its own."""
        return tuple(recipe.flipped for recipe in self.recipes)

    def __call__(
        self, frames: UInt8[Tensor, "t c h w"]
    ) -> UInt8[Tensor, "v t c size size"]:
        """Space first, then the augmentations in their order."""
        read = self.box
        places = [recipe.box._replace(top=recipe.box.top - read.top, left=recipe.box.left - read.left)
                  for recipe in self.recipes]  # fmt: skip
        draws = zip(self.recipes, self.changes, places, strict=True)
        return torch.stack(
            [
                apply(recipe, changes, place.cut(frames))
                for recipe, changes, place in draws
            ]
        )


@dataclass(frozen=True)
class TrainView(View):
    """Random clips of a video.

    Args:
        sampling: which frames.
        transform: space.
        size: side of the square clips, pixels.
        augmentations: what is done to a clip after that, in order.
        num_sample: clips of one video, with the same frames and other draws of everything else (Hoffer et al., arXiv
            1901.09335).
    """

    sampling: Sampling
    transform: Transform
    size: int
    augmentations: Sequence[Augmentation] = ()
    num_sample: int = 1

    def indices(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Drawn once for all clips of the video."""
        return self.sampling.train(length, generator)

    def look(
        self, height: int, width: int, generator: np.random.Generator
    ) -> TrainLook:
        """Space, then the augmentations, clip by clip."""
        drawn = [self._draw(height, width, generator) for _ in range(self.num_sample)]
        return TrainLook(
            [recipe for recipe, _ in drawn], [changes for _, changes in drawn]
        )

    def _draw(
        self, height: int, width: int, generator: np.random.Generator
    ) -> tuple[CropRecipe, list[Change]]:
        recipe = self.transform.draw(height, width, self.size, generator)
        return recipe, [
            a.draw(self.sampling.num_frames, self.size, generator)
            for a in self.augmentations
        ]


@dataclass(frozen=True)
class EvalLook:
    """Temporal views outside, crops inside; each frame is resized once."""

    box: Box
    crop: EvalCrop
    size: int
    views: Views
    flipped: tuple[bool, ...] = (False,)

    def __call__(
        self, frames: UInt8[Tensor, "n c h w"]
    ) -> UInt8[Tensor, "v t c size size"]:
        """Of the frames of all temporal views, one view after the other."""
        crops = [  # channels stay last in memory: one plain copy
            rearrange(crop, "(v t) c h w -> v t h w c", v=self.views.temporal)
            for crop in self.crop.crops(frames, self.size, self.views.spatial)
        ]
        if frames.device.type != "cpu":
            return rearrange(torch.stack(crops, 1), "v s t h w c -> (v s) t c h w")
        views = np.stack(
            [crop.numpy() for crop in crops], 1
        )  # NumPy asks for huge pages: four times as fast
        return rearrange(torch.from_numpy(views), "v s t h w c -> (v s) t c h w")


@dataclass(frozen=True)
class EvalViews(View):
    """All views of evaluation; nothing is drawn, and a frame that several views show is decoded once.

    Args:
        sampling: which frames.
        crop: space.
        size: side of the square clips, pixels.
        views: how many.
    """

    sampling: Sampling
    crop: EvalCrop
    size: int
    views: Views

    def indices(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Those of one temporal view after the other."""
        return self.sampling.test(length, self.views.temporal).ravel()

    def look(self, height: int, width: int, generator: np.random.Generator) -> EvalLook:
        """Whole frames: crops are cut behind the resize."""
        return EvalLook(Box(0, 0, height, width), self.crop, self.size, self.views)
