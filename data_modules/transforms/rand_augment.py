"""Apply RandAugment (Cubuk et al., arXiv 1909.13719) in the form of the video papers: timm's policies, once a clip."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from data_modules.transforms.augment import Augmentation
from data_modules.transforms.operations import Operation, Operations

_SECTION = re.compile(r"(mstd|mmax|inc|m|n|p)(\d+\.?\d*)")


class RandAugmentPolicy(NamedTuple):
    """Hold what a policy such as "rand-m7-n4-mstd0.5-inc1" says.

    Attributes:
        m: magnitude; 10 is a level of one.
        n: operations a clip, drawn with replacement.
        p: probability of each drawn operation.
        mstd: standard deviation of the magnitude, once an operation; above 100 it is uniform from 0 to m instead.
        mmax: highest magnitude.
        inc: 1 for operations that all grow more severe with the magnitude.
    """

    m: float = 10.0
    n: float = 2.0
    p: float = 0.5
    mstd: float = 0.0
    mmax: float = 10.0
    inc: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "RandAugmentPolicy":
        """Return the policy that ``text`` spells, in timm's spelling.

        Raises:
            ValueError: another beginning, an unknown section, or a number that makes no sense.
        """
        head, *sections = text.split("-")
        matches = [_SECTION.fullmatch(section) for section in sections]
        numbers = {match[1]: float(match[2]) for match in matches if match}
        policy = cls(**numbers)
        counts = (policy.m, policy.n, policy.mmax, policy.inc)
        whole = all(count.is_integer() for count in counts)
        if head != "rand" or not all(matches) or not whole or policy.p > 1:
            raise ValueError(
                "policy: expected such as 'rand-m7-n4-mstd0.5-inc1', "
                "with whole numbers m (magnitude), n (operations), "
                "mmax (highest magnitude) and inc (1: severity grows "
                "with m), and p (probability of each operation, at "
                f"most 1) and mstd (deviation of the magnitude); got {text!r}"
            )
        return policy

    def magnitude(self, generator: np.random.Generator) -> float:
        """Draw the magnitude of one operation."""
        if self.mstd > 100:  # timm's sign for a uniform magnitude
            return min(max(generator.uniform(0, self.m), 0.0), self.mmax)
        return min(max(generator.normal(self.m, self.mstd), 0.0), self.mmax)


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """Change a clip by ``n`` random operations, the same for each of its frames.

    The arguments of the operations are timm's; what an operation measures, such as a mean, it measures in each frame.

    Args:
        policy: in timm's spelling, see :class:`RandAugmentPolicy`.
        interpolation: where pixels move; "random" draws one of the two for each operation.
        fill: color where there was no picture, RGB, 0-255.
    """

    policy: str = "rand-m7-n4-mstd0.5-inc1"
    interpolation: Literal["bilinear", "bicubic", "random"] = "bicubic"
    fill: tuple[int, int, int] = (128, 128, 128)

    def __post_init__(self) -> None:
        RandAugmentPolicy.parse(self.policy)

    def draw(
        self, num_frames: int, size: int, generator: np.random.Generator
    ) -> Operations:
        """Draw as the class says."""
        policy = RandAugmentPolicy.parse(self.policy)
        arguments = INCREASING if policy.inc else ARGUMENTS
        choices = list(arguments)
        numbers = generator.integers(len(choices), size=int(policy.n))
        # All are drawn before the first argument is: this order belongs to what a seed draws.
        names: list[str] = []
        for number in numbers:
            if generator.random() <= policy.p:
                names.append(choices[number])
        steps: list[Operation] = []
        for name in names:
            steps.append(self._step(name, arguments[name], policy, generator))
        return Operations(tuple(steps), self.fill)

    def _step(
        self,
        name: str,
        argument: "_Argument",
        policy: RandAugmentPolicy,
        generator: np.random.Generator,
    ) -> Operation:
        sign = 1 if generator.random() < 0.5 else -1
        value = argument(policy.magnitude(generator) / 10, sign)
        if self.interpolation == "random":
            return Operation(
                name, value, ("bilinear", "bicubic")[generator.integers(2)]
            )
        return Operation(name, value, self.interpolation)


_Argument = Callable[[float, int], float]

# Operation -> its argument at a level (0-1, more where mmax allows) and a random sign, as in timm. ``// 1`` rounds down
# as timm's ``int`` does, and keeps floats.
ARGUMENTS: dict[str, _Argument] = {
    "AutoContrast": lambda level, sign: 0.0,
    "Equalize": lambda level, sign: 0.0,
    "Invert": lambda level, sign: 0.0,
    "Rotate": lambda level, sign: sign * 30 * level,  # degrees
    "Posterize": lambda level, sign: min(8.0, 4 * level // 1),  # bits that stay
    "Solarize": lambda level, sign: min(256.0, 256 * level // 1),  # threshold
    "SolarizeAdd": lambda level, sign: min(128.0, 110 * level // 1),
    "Color": lambda level, sign: 0.1 + 1.8 * level,
    "Contrast": lambda level, sign: 0.1 + 1.8 * level,
    "Brightness": lambda level, sign: 0.1 + 1.8 * level,
    "Sharpness": lambda level, sign: 0.1 + 1.8 * level,
    "ShearX": lambda level, sign: sign * 0.3 * level,
    "ShearY": lambda level, sign: sign * 0.3 * level,
    "TranslateXRel": lambda level, sign: sign * 0.45 * level,  # part of the width
    "TranslateYRel": lambda level, sign: sign * 0.45 * level,
}

# The same where all operations grow more severe with the level: factors move away from 1, which changes nothing, and
# Posterize and Solarize begin at their mildest.
INCREASING: dict[str, _Argument] = ARGUMENTS | {
    "Posterize": lambda level, sign: max(0.0, 4 - 4 * level // 1),
    "Solarize": lambda level, sign: 256 - min(256.0, 256 * level // 1),
    "Color": lambda level, sign: max(0.1, 1 + sign * 0.9 * level),
    "Contrast": lambda level, sign: max(0.1, 1 + sign * 0.9 * level),
    "Brightness": lambda level, sign: max(0.1, 1 + sign * 0.9 * level),
    "Sharpness": lambda level, sign: max(0.1, 1 + sign * 0.9 * level),
}
