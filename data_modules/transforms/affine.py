"""Rotations, shears and shifts of video as Pillow computes them, on any device."""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from torch import Tensor
from torch.nn.functional import embedding_bag

from data_modules.transforms.crops import Interpolation

Matrix = tuple[float, float, float, float, float, float]


def rotation(degrees: float, height: int, width: int) -> Matrix:
    """Counterclockwise about the centre of the frame."""
    cos, sin = (
        round(math.cos(math.radians(degrees)), 15),
        round(-math.sin(math.radians(degrees)), 15),
    )
    x, y = width / 2, height / 2
    return cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y


def affine(
    video: UInt8[Tensor, "t 3 h w"],
    matrix: Matrix,
    interpolation: Interpolation,
    fill: tuple[int, int, int],
) -> UInt8[Tensor, "t 3 h w"]:
    """The pixel at (x, y) shows what was at (a x + b y + c, d x + e y + f), ``fill`` (RGB) where that is outside.

    Positions count to the centres of the pixels. Bicubic weights are Keys' with a = -1, as in Pillow's transforms;
    its resize, and PyTorch, have others. Within one level of Pillow, which sums in doubles and rounds down.
    """
    frames, _, height, width = video.shape
    taps, weights, inside = _taps(matrix, height, width, interpolation, video.device)
    # one row for each place, with all frames and channels: one weighted sum of rows moves them all
    places = rearrange(video, "t c h w -> (h w) (t c)").contiguous().float()
    moved = embedding_bag(taps, places, per_sample_weights=weights, mode="sum")
    moved = (
        (moved + 1e-3).clamp_(0, 255).to(torch.uint8)
    )  # float sums may fall just short of a whole level
    background = torch.tensor(fill, dtype=torch.uint8, device=video.device).repeat(
        frames
    )
    moved = torch.where(inside[:, None], moved, background)
    return rearrange(moved, "(h w) (t c) -> t c h w", h=height, c=3).contiguous()


def _taps(
    matrix: Matrix,
    height: int,
    width: int,
    interpolation: Interpolation,
    device: torch.device,
) -> tuple[Int32[Tensor, "n k"], Float32[Tensor, "n k"], Bool[Tensor, " n"]]:
    """For each pixel the places it is summed from, their weights, and whether it shows the frame at all."""
    a, b, c, d, e, f = matrix
    y, x = torch.meshgrid(
        _centres(height, device), _centres(width, device), indexing="ij"
    )
    from_x, from_y = (a * x + b * y + c).flatten(), (d * x + e * y + f).flatten()
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    columns, across = _along(from_x, width, interpolation, still=(a, b, c) == (1, 0, 0))
    rows, down = _along(from_y, height, interpolation, still=(d, e, f) == (0, 1, 0))
    places = rearrange(rows, "n k -> n k 1") * width + rearrange(
        columns, "n l -> n 1 l"
    )
    weights = rearrange(down, "n k -> n k 1") * rearrange(across, "n l -> n 1 l")
    return places.flatten(1), weights.flatten(1), inside


def _centres(count: int, device: torch.device) -> Float64[Tensor, " count"]:
    return torch.arange(count, dtype=torch.float64, device=device) + 0.5


def _along(
    position: Float64[Tensor, " n"],
    length: int,
    interpolation: Interpolation,
    *,
    still: bool,
) -> tuple[Int32[Tensor, "n k"], Float32[Tensor, "n k"]]:
    """Indices along one axis, the outermost repeated, and their weights; one index where that axis does not move."""
    first = (position - 0.5).floor()
    if still:
        return first.int()[:, None], torch.ones_like(first, dtype=torch.float32)[
            :, None
        ]
    part = (position - 0.5 - first).float()
    offsets = range(2) if interpolation == "bilinear" else range(-1, 3)
    indices = torch.stack([first.int() + offset for offset in offsets], dim=-1)
    return indices.clamp(0, length - 1), _weights(part, interpolation)


def _weights(
    part: Float32[Tensor, " n"], interpolation: Interpolation
) -> Float32[Tensor, "n k"]:
    if interpolation == "bilinear":
        return torch.stack([1 - part, part], dim=-1)
    square, cube = part**2, part**3
    return torch.stack(
        [
            2 * square - part - cube,
            1 - 2 * square + cube,
            part + square - cube,
            cube - square,
        ],
        dim=-1,
    )
