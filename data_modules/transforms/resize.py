"""Resize clips of uint8 (0-255), antialiased; each of the two passes rounds and clamps, as in PIL.

On CPU a clip stays in uint8, which is over twenty times faster than floats; other devices have only floats, which are
within two levels of it.
"""

from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

Interpolation = Literal["bilinear", "bicubic"]


def resize(
    video: UInt8[Tensor, "t c h w"],
    height: int,
    width: int,
    interpolation: Interpolation,
) -> UInt8[Tensor, "t c h2 w2"]:
    """Return the clip of ``height`` x ``width`` pixels, antialiased; the input itself where it has that size."""
    if video.shape[-2:] == (height, width):
        return video
    if has_uint8_resize(video.device):
        return interpolate(
            video, size=(height, width), mode=interpolation, antialias=True
        )
    floats = video.float()
    # The passes of the CPU, each rounded and clamped: first along rows, then along columns.
    for shape in ((video.shape[-2], width), (height, width)):
        floats = interpolate(floats, size=shape, mode=interpolation, antialias=True)
        floats = floats.round().clamp(0, 255)
    return floats.to(torch.uint8)


def has_uint8_resize(device: torch.device) -> bool:
    """Tell whether PyTorch resizes uint8 with antialiasing on this device: on CPU alone."""
    return device.type == "cpu"
