"""Hold YUV 4:2:0 pictures as they come out of a decoder, and convert them to RGB on any device."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float32, UInt8
from torch import Tensor

from data_modules.transforms.crops import Box

# Weights of red and blue in luma: ITU-R BT.601-7 sec. 2.5.1, BT.709-6 item 3.2, BT.2020-2 table 4; ITU-T H.273 table 4.
LUMA = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.3, 0.11),
    "smpte240m": (0.212, 0.087),
}


class Planes(NamedTuple):
    """Hold a part of each picture of a clip, not yet converted. Each 2 x 2 pixels share one pair of chroma samples.

    Attributes:
        data: luma (height x width), then U, then V (height/2 x width/2 each), row by row, 0-255.
        height: even, pixels.
        width: even, pixels.
        box: the part that was asked for, inside these ``height`` x ``width`` pixels.
        matrix: a name in ``LUMA``.
        full_range: luma spans 0-255 and not 16-235.
    """

    data: UInt8[Tensor, "t n"]
    height: int
    width: int
    box: Box
    matrix: str
    full_range: bool


def to_rgb(planes: Planes) -> UInt8[Tensor, "t c h w"]:
    """Return RGB (0-255) of the box, on the device of the data.

    With Y' = (Y - 16) 255 / 219 and U', V' = (U - 128, V - 128) 255 / 224, or Y and U - 128, V - 128 in full range:

        R = Y' + 2 (1 - Kr) V',   B = Y' + 2 (1 - Kb) U',   G = (Y' - Kr R - Kb B) / (1 - Kr - Kb)

    rounded to the nearest level (ITU-R BT.601-7, BT.709-6, BT.2020-2). All four pixels of a chroma sample take its
    value, as FFmpeg's conversion without scaling does.
    """
    rows = planes.height // 2
    columns = planes.width // 2
    area = planes.height * planes.width
    luma, chroma = planes.data.float().split([area, area // 2], dim=1)
    # A pixel is (h, i, w, j): chroma sample (h, w), and within it row i and column j of two.
    luma = rearrange(luma, "t (h i w j) -> t 1 h i w j", h=rows, i=2, w=columns)
    chroma = rearrange(chroma, "t (c h w) -> t c h 1 w 1", c=2, h=rows)
    chroma = chroma - 128
    if not planes.full_range:
        luma = (luma - 16) * (255 / 219)
        chroma = chroma * (255 / 224)
    weights = _chroma_weights(planes.matrix, chroma)
    # At chroma's size, a quarter of the pixels; the sum with luma repeats it.
    shift = torch.einsum("k c, t c h i w j -> t k h i w j", weights, chroma)
    rgb = (luma + shift).round_().clamp_(0, 255).byte()
    pixels = rearrange(rgb, "t k h i w j -> t k (h i) (w j)")
    return planes.box.cut(pixels)


def black(num_frames: int, size: int) -> Planes:
    """Return planes of black square frames, ``size`` pixels wide."""
    even = size + size % 2
    luma = torch.zeros(num_frames, even * even)
    chroma = torch.full((num_frames, even * even // 2), 128)
    data = torch.cat([luma, chroma], 1).byte()
    box = Box(0, 0, size, size)
    return Planes(data, even, even, box, "bt601", full_range=True)


def _chroma_weights(matrix: str, like: Tensor) -> Float32[Tensor, "3 2"]:
    """Return the weights of U' and V' (columns) in R, G and B (rows), on the device of ``like``."""
    red, blue = LUMA[matrix]
    green = 1 - red - blue
    per_u = [0, -2 * blue * (1 - blue) / green, 2 * (1 - blue)]
    per_v = [2 * (1 - red), -2 * red * (1 - red) / green, 0]
    return torch.tensor([per_u, per_v], device=like.device).T
