"""Pixels: what training does to a square clip, the same to each of its frames. uint8 (0-255) in and out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from data_modules.transforms import Recipe

Change = Callable[[Tensor], Tensor]


class Augmentation(ABC):
    """A random change of a clip."""

    @abstractmethod
    def draw(self, num_frames: int, size: int, generator: np.random.Generator) -> Change:
        """A picklable change of clips "t c size size", of plain numbers; random only in ``generator``."""


def apply(recipe: Recipe, changes: Sequence[Change], clip: UInt8[Tensor, "t c h w"]) -> UInt8[Tensor, "t c size size"]:
    """Space, then each change in turn, on the device of ``clip``: frames that are already cut to the recipe's box."""
    clip = recipe(clip)
    for change in changes:
        clip = change(clip)
    return clip
