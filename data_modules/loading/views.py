"""What is seen of a video: which frames, which part of them, and the clips made of it.

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
    """Draw what is seen of a video.

    There are two draws, because the second needs more than the first: frames by the
    length of the video, then the look by the size of its frames.

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
        """Return the frames to read, by rank from 0."""

    @abstractmethod
    def look(self, height: int, width: int, generator: np.random.Generator) -> Look:
        """Return what to make of frames of this size, pixels."""


class Views(NamedTuple):
    """Hold how often evaluation looks at a video.

    It is written "temporal x spatial", as in "4x3".
    """

    temporal: int
    spatial: int

    @classmethod
    def parse(cls, text: str) -> "Views":
        """Return the views of a text.

        >>> Views.parse("4x3")
        Views(temporal=4, spatial=3)

        Raises:
            ValueError: not two numbers, no temporal view, or other than 1 or 3 crops.
        """
        temporal, _, spatial = text.partition("x")
        if (
            not temporal.isdecimal()
            or int(temporal) < 1
            or spatial not in ("1", "3")
        ):
            raise ValueError(
                "views: expected temporal x spatial such as '1x1' or '4x3', 1 or "
                f"3 crops; got {text!r}"
            )
        return cls(int(temporal), int(spatial))


@dataclass(frozen=True)
class TrainLook:
    """Make one or more clips of the same frames, each drawn on its own.

    Args:
        recipes: of each clip, which box of the frames it shows, and how.
        changes: of each clip, what is done to it after that, in order.
    """

    recipes: Sequence[CropRecipe]
    changes: Sequence[Sequence[Change]]

    @property
    def box(self) -> Box:
        """Return the smallest box that holds those of all clips."""
        top, left, height, width = self.recipes[0].box
        bottom = top + height
        right = left + width
        for recipe in self.recipes[1:]:
            box = recipe.box
            top = min(top, box.top)
            left = min(left, box.left)
            bottom = max(bottom, box.top + box.height)
            right = max(right, box.left + box.width)
        return Box(top, left, bottom - top, right - left)

    @property
    def flipped(self) -> tuple[bool, ...]:
        """Return whether each clip is mirrored: each has a label of its own."""
        return tuple(recipe.flipped for recipe in self.recipes)

    def __call__(
        self, frames: UInt8[Tensor, "t c h w"]
    ) -> UInt8[Tensor, "v t c size size"]:
        """Return the clips of the frames of :attr:`box`, RGB 0-255.

        Space comes first, then the augmentations in their order.
        """
        read = self.box
        clips = list[Tensor]()
        for recipe, changes in zip(self.recipes, self.changes, strict=True):
            box = recipe.box
            # boxes count from the corner of the video, `frames` begin at that of `read`
            place = box._replace(top=box.top - read.top, left=box.left - read.left)
            clips.append(apply(recipe, changes, place.cut(frames)))
        return torch.stack(clips)


@dataclass(frozen=True)
class TrainView(View):
    """Draw random clips of a video.

    Args:
        sampling: which frames.
        transform: space.
        size: side of the square clips, pixels.
        augmentations: what is done to a clip after that, in order.
        num_sample: clips of one video, with the same frames and other draws of
            everything else (Hoffer et al., arXiv 1901.09335).
    """

    sampling: Sampling
    transform: Transform
    size: int
    augmentations: Sequence[Augmentation] = ()
    num_sample: int = 1

    def indices(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Return the frames that all clips of the video show."""
        return self.sampling.train(length, generator)

    def look(
        self, height: int, width: int, generator: np.random.Generator
    ) -> TrainLook:
        """Draw space, then the augmentations, clip by clip."""
        recipes = list[CropRecipe]()
        changes = list[list[Change]]()
        for _ in range(self.num_sample):
            recipes.append(self.transform.draw(height, width, self.size, generator))
            changes.append(self._changes(generator))
        return TrainLook(recipes, changes)

    def _changes(self, generator: np.random.Generator) -> list[Change]:
        num_frames = self.sampling.num_frames
        return [
            a.draw(num_frames, self.size, generator) for a in self.augmentations
        ]


@dataclass(frozen=True)
class EvalLook:
    """Make all views of evaluation; each frame is resized once.

    With 2 temporal views of t frames and 3 crops the views come in this order::

        frames  0 .. t-1   crops 0 1 2   views 0 1 2
        frames  t .. 2t-1  crops 0 1 2   views 3 4 5

    Args:
        box: whole frames.
        crop: space.
        size: side of the square views, pixels.
        views: how many.
        flipped: one label serves all views, and none is mirrored.
    """

    box: Box
    crop: EvalCrop
    size: int
    views: Views
    flipped: tuple[bool, ...] = (False,)

    def __call__(
        self, frames: UInt8[Tensor, "n c h w"]
    ) -> UInt8[Tensor, "v t c size size"]:
        """Return the views of the frames of one temporal view after the other."""
        temporal = self.views.temporal
        # channels stay last in memory, as the resize leaves them: one plain copy
        crops = [
            rearrange(crop, "(v t) c h w -> v t h w c", v=temporal)
            for crop in self.crop.crops(frames, self.size, self.views.spatial)
        ]
        if frames.device.type != "cpu":
            return rearrange(torch.stack(crops, 1), "v s t h w c -> (v s) t c h w")
        # NumPy asks the kernel for huge pages, torch does not: four times as fast
        views = np.stack([crop.numpy() for crop in crops], 1)
        return rearrange(torch.from_numpy(views), "v s t h w c -> (v s) t c h w")


@dataclass(frozen=True)
class EvalViews(View):
    """Show all views of evaluation; nothing is drawn.

    A frame that several views show is decoded once.

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
        """Return the frames of one temporal view after the other."""
        return self.sampling.test(length, self.views.temporal).ravel()

    def look(
        self, height: int, width: int, generator: np.random.Generator
    ) -> EvalLook:
        """Return a look at whole frames: crops are cut behind the resize."""
        return EvalLook(Box(0, 0, height, width), self.crop, self.size, self.views)
