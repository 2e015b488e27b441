"""Change the pixels of video as Pillow's image operations do: uint8 (0-255) RGB "t 3 h w", on any device.

All are equal to Pillow bit for bit, but for the motions (:mod:`data_modules.transforms.affine`) and the hue, within
one level. Those of torchvision are taken that are equal, too, on every device. Ours are those that are not: its
AutoContrast, Color and Contrast are a level or two off, and its Sharpness is a convolution, which may round to TF32 on
CUDA. Blends round as Pillow does: in float32, then towards zero.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional

from data_modules.transforms.affine import Matrix, affine, rotation
from data_modules.transforms.resize import Interpolation

Rgb = UInt8[Tensor, "t 3 h w"]


class Operation(NamedTuple):
    """Name an operation, with its argument; ``interpolation`` where it moves pixels."""

    name: str
    value: float = 0.0
    interpolation: Interpolation = "bicubic"


@dataclass(frozen=True)
class Operations:
    """Change a clip by one operation after the other.

    Args:
        steps: the operations, in this order.
        fill: RGB, 0-255, of what shows no part of the picture, after a motion.
    """

    steps: tuple[Operation, ...] = ()
    fill: tuple[int, int, int] = (128, 128, 128)

    def __call__(self, clip: Rgb) -> Rgb:
        """Return the changed clip, on its device."""
        for name, value, interpolation in self.steps:
            if name in MOTIONS:
                matrix = MOTIONS[name](value, clip.shape[-2], clip.shape[-1])
                clip = affine(clip, matrix, interpolation, self.fill)
            else:
                clip = OPERATIONS[name](clip, value)
        return clip


def gray(video: Rgb) -> UInt8[Tensor, "t 1 h w"]:
    """Return ITU-R 601 luma in fixed point: (19595 r + 38470 g + 7471 b + 2^15) / 2^16."""
    red, green, blue = video.to(torch.int32).split(1, dim=1)
    luma = red * 19595 + green * 38470 + blue * 7471
    return ((luma + (1 << 15)) >> 16).to(torch.uint8)


def posterize(video: Rgb, bits: float) -> Rgb:
    """Keep the highest ``bits`` bits, 0 to 8, and clear the others."""
    return functional.posterize(video, int(bits))


def solarize(video: Rgb, threshold: float) -> Rgb:
    """Return x below ``threshold`` (0 to 256), else 255 - x."""
    # torchvision refuses 256, which policies draw for "nothing changes".
    return video if threshold > 255 else functional.solarize(video, int(threshold))


def solarize_add(video: Rgb, add: float) -> Rgb:
    """Return x + ``add`` (0 to 128) below 128, else x."""
    return torch.where(video < 128, video + int(add), video)


def contrast(video: Rgb, factor: float) -> Rgb:
    """Move pixels away from the mean gray of their frame by ``factor``."""
    pixels = video.shape[-2] * video.shape[-1]
    total = gray(video).sum(dim=(1, 2, 3), keepdim=True)
    # In doubles: the sum of a frame has more digits than float32 holds.
    mean = total.double() / pixels
    return _blend((mean + 0.5).floor().float(), video, factor)


def saturation(video: Rgb, factor: float) -> Rgb:
    """Move pixels away from the gray picture by ``factor``: 0 is gray, in three equal channels."""
    return _blend(gray(video).float(), video, factor)


def sharpness(video: Rgb, factor: float) -> Rgb:
    """Move pixels away from the smoothed picture by ``factor``.

    Weights are those of Pillow's SMOOTH filter, over 13; the outermost pixels are not smoothed:

        1 1 1
        1 5 1
        1 1 1
    """
    wide = video.short()  # a sum of 13 pixels is more than uint8 holds
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    total = (
        rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[..., 1:-1, 1:-1]
    )
    smooth = video.float()
    smooth[..., 1:-1, 1:-1] = (total.float() / 13 + 0.5).floor()
    return _blend(smooth, video, factor)


def auto_contrast(video: Rgb) -> Rgb:
    """Stretch each channel of each frame to 0-255; a flat one stays."""
    low = video.amin(dim=(2, 3)).double()[..., None]
    high = video.amax(dim=(2, 3)).double()[..., None]
    # A tensor over a tensor: PyTorch multiplies a number by the reciprocal of a tensor, which rounds twice.
    scale = torch.full_like(high, 255) / (high - low).clamp(min=1)
    levels = torch.arange(256, device=video.device).double()
    stretched = (levels * scale - low * scale).trunc().clamp(0, 255)
    table = torch.where(high > low, stretched, levels).to(torch.uint8)
    return table.gather(-1, video.flatten(2).long()).view_as(video)


def hue(video: Rgb, turn: float) -> Rgb:
    """Turn the hue by ``turn`` of the color circle; HSV's saturation and value stay."""
    floats = video.float()
    value, dominant = floats.max(dim=1, keepdim=True)
    chroma = value - floats.amin(dim=1, keepdim=True)
    # Of the two other channels the next one less the one after: green - blue where red is dominant.
    differences = floats.roll(-1, dims=1) - floats.roll(-2, dims=1)
    lead = differences.gather(1, dominant)
    sixth = lead / chroma.clamp(min=1) + 2 * dominant + 6 * turn
    # f(n) = V - V S max(0, min(k, 4 - k, 1)), k = (n + H) mod 6, with n of 5, 3, 1 for R, G, B.
    offset = torch.tensor([5.0, 3.0, 1.0], device=video.device)[:, None, None]
    distance = (sixth + offset) % 6
    part = torch.minimum(distance, 4 - distance).clamp(0, 1)
    return (value - chroma * part).round().to(torch.uint8)


def _blend(away_from: Float[Tensor, "*#thwc"], video: Rgb, factor: float) -> Rgb:
    """Return away_from + factor (video - away_from), clamped to 0-255 and rounded towards zero."""
    blend = (video.float() - away_from).mul_(factor).add_(away_from)
    return blend.clamp_(0, 255).to(torch.uint8)


OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "AutoContrast": lambda video, _: auto_contrast(video),
    "Equalize": lambda video, _: functional.equalize(video),
    "Invert": lambda video, _: functional.invert(video),
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "Color": saturation,
    "Contrast": contrast,
    "Brightness": functional.adjust_brightness,
    "Sharpness": sharpness,
    "Hue": hue,
}

# Of the argument, the height and the width.
MOTIONS: dict[str, Callable[[float, int, int], Matrix]] = {
    "Rotate": rotation,
    "ShearX": lambda part, _, __: (1.0, part, 0.0, 0.0, 1.0, 0.0),
    "ShearY": lambda part, _, __: (1.0, 0.0, 0.0, part, 1.0, 0.0),
    "TranslateXRel": lambda part, _, width: (1.0, 0.0, part * width, 0.0, 1.0, 0.0),
    "TranslateYRel": lambda part, height, _: (
        1.0,
        0.0,
        0.0,
        0.0,
        1.0,
        part * height,
    ),
}
