"""Mix clips in pairs: mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899).

batch     0   1     2   3     4   5
pairs     0 + 1     2 + 3     4 + 5        each clip of a pair takes a part of the other
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from data_modules.sampling.randomness import keyed_generator
from data_modules.transforms.crops import Box


class Mixed(NamedTuple):
    """Hold a mixed batch; its loss is weight x loss(label) + (1 - weight) x loss(partner).

    Attributes:
        video: RGB, 0-255.
        partner: the label that is mixed in.
        weight: of the own label, 0-1.
    """

    video: UInt8[Tensor, "b t c h w"]
    partner: Int64[Tensor, " b"]
    weight: Float32[Tensor, " b"]


class Mix(NamedTuple):
    """Say how two clips are mixed: by ``weight`` of the own pixels, or by an exchange of ``box``."""

    weight: float
    box: Box | None = None


@dataclass(frozen=True)
class Mixing:
    """Mix clips 2i and 2i + 1 of a batch with each other; what is drawn depends on their names, not their place.

    A step of the training order is cut into ranks in one piece each, so with an even batch on each rank the pairs
    are the same for any number of ranks.

    Args:
        mixup: alpha of mixup's weight, which is Beta(alpha, alpha); 0 turns mixup off.
        cutmix: alpha of CutMix's weight, likewise; the box has that part of the area outside, before it is clipped.
        switch: probability of CutMix where both are on.
        probability: of a pair to be mixed at all.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    switch: float = 0.5
    probability: float = 1.0

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or not self.mixup + self.cutmix:
            raise ValueError(
                "mixup, cutmix: expected 0 or more and one "
                f"above 0, got {self.mixup}, {self.cutmix}"
            )
        for name in ("switch", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name}: expected 0 to 1, got {getattr(self, name)}"
                )

    def __call__(
        self,
        video: UInt8[Tensor, "b t c h w"],
        label: Int64[Tensor, " b"],
        clip_id: Sequence[str],
        *,
        seed: int,
        epoch: int,
    ) -> Mixed:
        """Mix a batch on its device. Views of one clip are entries of their own; fold them in outermost.

        Raises:
            ValueError: an odd number of clips.
        """
        if len(video) % 2:
            raise ValueError(
                "batch_size: mixing takes clips in pairs, "
                f"{len(video)} is odd; take an even batch_size"
            )
        height, width = video.shape[-2:]
        pairs: list[Tensor] = []
        weights: list[float] = []
        for start in range(0, len(video), 2):
            key = f"mix/{clip_id[start]}/{clip_id[start + 1]}"
            mix = self.draw(height, width, keyed_generator(seed, epoch, key))
            pairs.append(mix_pair(video[start : start + 2], mix))
            weights.append(mix.weight)
        weight = torch.tensor(weights, dtype=torch.float32, device=video.device)
        return Mixed(
            torch.cat(pairs),
            label.view(-1, 2).flip(1).flatten(),
            repeat(weight, "n -> (n two)", two=2),
        )

    def draw(self, height: int, width: int, generator: np.random.Generator) -> Mix:
        """Draw how one pair of clips with frames of ``height`` x ``width`` is mixed."""
        mixed, switched = generator.random(2) < (self.probability, self.switch)
        cut = bool(self.cutmix) and (bool(switched) or not self.mixup)
        alpha = self.cutmix if cut else self.mixup
        weight = generator.beta(alpha, alpha)
        row = int(generator.integers(height))
        column = int(generator.integers(width))
        if not mixed:
            return Mix(1.0)
        if not cut:
            return Mix(weight)
        return _exchange(weight, (row, column), height, width)


def mix_pair(
    pair: UInt8[Tensor, "2 t c h w"], mix: Mix
) -> UInt8[Tensor, "2 t c h w"]:
    """Mix each of two clips with the other."""
    other = pair.flip(0)
    if mix.box:
        mixed = pair.clone()
        mix.box.cut(mixed).copy_(mix.box.cut(other))
        return mixed
    blend = pair.float().mul_(mix.weight).add_(other, alpha=1 - mix.weight)
    return blend.round_().to(torch.uint8)


def _exchange(
    weight: float, center: tuple[int, int], height: int, width: int
) -> Mix:
    """Return the box about ``center`` of (1 - weight) of the area, clipped to the frame, and the weight it leaves."""
    side = np.sqrt(1 - weight)
    top, bottom = _span(int(height * side), center[0], height)
    left, right = _span(int(width * side), center[1], width)
    box = Box(top, left, bottom - top, right - left)
    # Clipping makes the box smaller, so the weight is that of the pixels that are exchanged.
    return Mix(1 - box.height * box.width / (height * width), box)


def _span(length: int, center: int, limit: int) -> tuple[int, int]:
    """Return the ends of a stretch about ``center``, clipped to 0 and ``limit``."""
    return max(0, center - length // 2), min(limit, center + (length + 1) // 2)
