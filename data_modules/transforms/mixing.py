"""mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899) of neighbours in a batch."""

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
    """A mixed batch; its loss is weight x loss(label) + (1 - weight) x loss(partner).

    Attributes:
        video: RGB, 0-255.
        partner: the label that is mixed in.
        weight: of the own label, 0-1.
    """

    video: UInt8[Tensor, "b t c h w"]
    partner: Int64[Tensor, " b"]
    weight: Float32[Tensor, " b"]


class Mix(NamedTuple):
    """How two clips are mixed: by ``weight`` of the own pixels, or by an exchange of ``box``."""

    weight: float
    box: Box | None = None


@dataclass(frozen=True)
class Mixing:
    """Clips 2i and 2i + 1 of a batch are mixed with each other; what is drawn depends on their names, not their place.

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
                f"mixup, cutmix: expected 0 or more and one above 0, got {self.mixup}, {self.cutmix}"
            )
        for name in ("switch", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")

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
                f"batch_size: mixing takes clips in pairs, {len(video)} is odd; take an even batch_size"
            )
        keys = [
            f"mix/{own}/{other}"
            for own, other in zip(clip_id[::2], clip_id[1::2], strict=True)
        ]
        size = video.shape[-2:]
        mixes = [
            self.draw(size[0], size[1], keyed_generator(seed, epoch, key))
            for key in keys
        ]
        pairs = [mix_pair(video[2 * n : 2 * n + 2], mix) for n, mix in enumerate(mixes)]
        weight = torch.tensor(
            [mix.weight for mix in mixes], dtype=torch.float32, device=video.device
        )
        return Mixed(
            torch.cat(pairs),
            label.view(-1, 2).flip(1).flatten(),
            repeat(weight, "n -> (n two)", two=2),
        )

    def draw(self, height: int, width: int, generator: np.random.Generator) -> Mix:
        """Of one pair of clips with frames of ``height`` x ``width``."""
        mixed, switched = generator.random(2) < (self.probability, self.switch)
        cut = bool(self.cutmix) and (bool(switched) or not self.mixup)
        alpha = self.cutmix if cut else self.mixup
        weight = generator.beta(alpha, alpha)
        centre = int(generator.integers(height)), int(generator.integers(width))
        if not mixed:
            return Mix(1.0)
        return _exchange(weight, centre, height, width) if cut else Mix(weight)


def mix_pair(pair: UInt8[Tensor, "2 t c h w"], mix: Mix) -> UInt8[Tensor, "2 t c h w"]:
    """Each of two clips with the other."""
    other = pair.flip(0)
    if mix.box:
        mixed = pair.clone()
        mix.box.cut(mixed).copy_(mix.box.cut(other))
        return mixed
    return (
        pair.float()
        .mul_(mix.weight)
        .add_(other, alpha=1 - mix.weight)
        .round_()
        .to(torch.uint8)
    )


def _exchange(weight: float, centre: tuple[int, int], height: int, width: int) -> Mix:
    """The box about ``centre`` of (1 - weight) of the area, clipped to the frame, and the weight that it leaves."""
    side = np.sqrt(1 - weight)
    top, bottom = _span(int(height * side), centre[0], height)
    left, right = _span(int(width * side), centre[1], width)
    box = Box(top, left, bottom - top, right - left)
    return Mix(1 - box.height * box.width / (height * width), box)


def _span(length: int, centre: int, limit: int) -> tuple[int, int]:
    return max(0, centre - length // 2), min(limit, centre + (length + 1) // 2)
