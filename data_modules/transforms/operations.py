"""Pillow's image operations on video: uint8 (0-255) RGB "t 3 h w", frame by frame, on any device.

All are equal to Pillow bit for bit, but for the motions (:mod:`data_modules.transforms.affine`) and the hue, within
one level. Blends round as Pillow does: in float32, then towards zero.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from data_modules.transforms.affine import Matrix, affine, rotation
from data_modules.transforms.crops import Interpolation

Rgb = UInt8[Tensor, "t 3 h w"]


class Step(NamedTuple):
    """An operation by its name, with its argument; ``interpolation`` where it moves pixels."""

    name: str
    value: float = 0.0
    interpolation: Interpolation = "bicubic"


@dataclass(frozen=True)
class Steps:
    """Operations one after the other; ``fill`` (RGB, 0-255) is seen where there was no picture."""

    steps: tuple[Step, ...] = ()
    fill: tuple[int, int, int] = (128, 128, 128)

    def __call__(self, clip: Rgb) -> Rgb:
        """Follow them, on the device of ``clip``."""
        for name, value, interpolation in self.steps:
            if name in MOTIONS:
                matrix = MOTIONS[name](value, clip.shape[-2], clip.shape[-1])
                clip = affine(clip, matrix, interpolation, self.fill)
            else:
                clip = OPERATIONS[name](clip, value)
        return clip


def grey(video: Rgb) -> UInt8[Tensor, "t 1 h w"]:
    """ITU-R 601 luma in fixed point: (19595 r + 38470 g + 7471 b + 2^15) / 2^16."""
    red, green, blue = video.to(torch.int32).split(1, dim=1)
    return ((red * 19595 + green * 38470 + blue * 7471 + (1 << 15)) >> 16).to(
        torch.uint8
    )


def invert(video: Rgb) -> Rgb:
    """255 - x."""
    return 255 - video


def posterize(video: Rgb, bits: float) -> Rgb:
    """The highest ``bits`` bits, 0 to 8."""
    return video & (256 - (1 << (8 - int(bits))))


def solarize(video: Rgb, threshold: float) -> Rgb:
    """x below ``threshold``, else 255 - x."""
    return (
        video
        if threshold > 255
        else torch.where(video < int(threshold), video, 255 - video)
    )


def solarize_add(video: Rgb, add: float) -> Rgb:
    """x + ``add`` (0 to 128) below 128, else x."""
    return torch.where(video < 128, video + int(add), video)


def brightness(video: Rgb, factor: float) -> Rgb:
    """Away from black by ``factor``."""
    return _blend(torch.zeros((), device=video.device), video, factor)


def contrast(video: Rgb, factor: float) -> Rgb:
    """Away from the mean grey of the frame by ``factor``."""
    mean = grey(video).sum(dim=(1, 2, 3), keepdim=True).double() / (
        video.shape[-2] * video.shape[-1]
    )
    return _blend((mean + 0.5).floor().float(), video, factor)


def saturation(video: Rgb, factor: float) -> Rgb:
    """Away from the grey picture by ``factor``: 0 is grey, in three equal channels."""
    return _blend(grey(video).float(), video, factor)


def sharpness(video: Rgb, factor: float) -> Rgb:
    """Away from the smoothed picture by ``factor``: 3 x 3 weights of 1, 5 in the centre; the rim is not smoothed."""
    wide, smooth = video.short(), video.float()
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[..., 1:-1, 1:-1]
    smooth[..., 1:-1, 1:-1] = (total.float() / 13 + 0.5).floor()
    return _blend(smooth, video, factor)


def auto_contrast(video: Rgb) -> Rgb:
    """Each channel of each frame stretched to 0-255; a flat one stays."""
    low, high = (
        level.double()[..., None]
        for level in (video.amin(dim=(2, 3)), video.amax(dim=(2, 3)))
    )
    scale = torch.full_like(high, 255) / (high - low).clamp(
        min=1
    )  # a number over a tensor would round twice
    levels = _levels(video).double()
    stretched = (levels * scale - low * scale).trunc().clamp(0, 255)
    return _look_up(torch.where(high > low, stretched, levels), video)


def equalize(video: Rgb) -> Rgb:
    """Levels spread to equal counts, in each channel of each frame; a flat one stays."""
    count = _histogram(video)
    below = count.cumsum(-1) - count
    last = count.gather(-1, video.amax(dim=(2, 3)).long()[..., None])
    step = (count.sum(-1, keepdim=True) - last) // 255
    spread = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return _look_up(torch.where(step > 0, spread, _levels(video)), video)


def hue(video: Rgb, turn: float) -> Rgb:
    """The hue turned by ``turn`` of the colour circle; HSV's saturation and value stay."""
    floats = video.float()
    value, dominant = floats.max(dim=1, keepdim=True)
    chroma = value - floats.amin(dim=1, keepdim=True)
    lead = (floats.roll(-1, dims=1) - floats.roll(-2, dims=1)).gather(
        1, dominant
    )  # red dominant: green - blue
    sixth = lead / chroma.clamp(min=1) + 2 * dominant + 6 * turn
    offset = torch.tensor([5.0, 3.0, 1.0], device=video.device)[:, None, None]
    distance = (sixth + offset) % 6
    return (
        (value - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1))
        .round()
        .to(torch.uint8)
    )


def _blend(away_from: Float[Tensor, "*#thwc"], video: Rgb, factor: float) -> Rgb:
    """away_from + factor (video - away_from)."""
    return (
        ((video.float() - away_from).mul_(factor).add_(away_from))
        .clamp_(0, 255)
        .to(torch.uint8)
    )


def _levels(video: Rgb) -> Int64[Tensor, " 256"]:
    return torch.arange(256, device=video.device)


def _histogram(video: Rgb) -> Int64[Tensor, "t 3 256"]:
    planes = video.flatten(0, 1).flatten(1).long()
    planes += 256 * torch.arange(len(planes), device=video.device)[:, None]
    return torch.bincount(planes.flatten(), minlength=256 * len(planes)).view(
        *video.shape[:2], 256
    )


def _look_up(table: Tensor, video: Rgb) -> Rgb:
    return table.to(torch.uint8).gather(-1, video.flatten(2).long()).view_as(video)


OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "AutoContrast": lambda video, _: auto_contrast(video),
    "Equalize": lambda video, _: equalize(video),
    "Invert": lambda video, _: invert(video),
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "Color": saturation,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
    "Hue": hue,
}

MOTIONS: dict[str, Callable[[float, int, int], Matrix]] = {  # argument, height, width
    "Rotate": rotation,
    "ShearX": lambda part, _, __: (1.0, part, 0.0, 0.0, 1.0, 0.0),
    "ShearY": lambda part, _, __: (1.0, 0.0, 0.0, part, 1.0, 0.0),
    "TranslateXRel": lambda part, _, width: (1.0, 0.0, part * width, 0.0, 1.0, 0.0),
    "TranslateYRel": lambda part, height, _: (1.0, 0.0, 0.0, 0.0, 1.0, part * height),
}
