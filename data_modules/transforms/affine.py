"""Rotate, shear and shift video as Pillow does, on any device."""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from torch import Tensor
from torch.nn.functional import embedding_bag

from data_modules.transforms.resize import Interpolation

# a, b, c, d, e, f: a pixel at (x, y) shows what was at (a x + b y + c, d x + e y + f).
Matrix = tuple[float, float, float, float, float, float]


def rotation(degrees: float, height: int, width: int) -> Matrix:
    """Return the matrix of a counterclockwise turn about the center of the frame."""
    # Rounded as Pillow rounds, so that a quarter turn has true zeros.
    cos = round(math.cos(math.radians(degrees)), 15)
    sin = round(-math.sin(math.radians(degrees)), 15)
    x = width / 2
    y = height / 2
    return cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y


def affine(
    video: UInt8[Tensor, "t 3 h w"],
    matrix: Matrix,
    interpolation: Interpolation,
    fill: tuple[int, int, int],
) -> UInt8[Tensor, "t 3 h w"]:
    """Return frames in which the pixel at (x, y) shows what was at (a x + b y + c, d x + e y + f).

    Positions count to the centers of the pixels. Bicubic weights are Keys' with a = -1, as in Pillow's transforms;
    its resize, and PyTorch, have others. Within one level of Pillow, which sums in doubles and rounds down.

    Args:
        video: RGB, 0-255.
        matrix: a to f.
        interpolation: weights of the pixels around a place.
        fill: RGB, 0-255, of pixels that show what was outside.
    """
    frames, _, height, width = video.shape
    taps, weights, inside = _taps(
        matrix, height, width, interpolation, video.device
    )
    # One row for each place, with all frames and channels: one weighted sum of rows moves them all.
    places = rearrange(video, "t c h w -> (h w) (t c)").contiguous().float()
    moved = embedding_bag(taps, places, per_sample_weights=weights, mode="sum")
    # Sums of floats may fall just short of a whole level.
    moved = (moved + 1e-3).clamp_(0, 255).to(torch.uint8)
    background = torch.tensor(fill, dtype=torch.uint8, device=video.device)
    moved = torch.where(inside[:, None], moved, background.repeat(frames))
    return rearrange(moved, "(h w) (t c) -> t c h w", h=height, c=3).contiguous()


def _taps(
    matrix: Matrix,
    height: int,
    width: int,
    interpolation: Interpolation,
    device: torch.device,
) -> tuple[Int32[Tensor, "n k"], Float32[Tensor, "n k"], Bool[Tensor, " n"]]:
    """Return for each pixel the places it is summed from, their weights, and whether it shows the frame at all."""
    a, b, c, d, e, f = matrix
    y, x = torch.meshgrid(
        _centers(height, device), _centers(width, device), indexing="ij"
    )
    from_x = (a * x + b * y + c).flatten()
    from_y = (d * x + e * y + f).flatten()
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    # An axis that does not move needs one place and not four: shears and shifts cost a quarter.
    columns, across = _along(
        from_x, width, interpolation, still=(a, b, c) == (1, 0, 0)
    )
    rows, down = _along(from_y, height, interpolation, still=(d, e, f) == (0, 1, 0))
    places = rearrange(rows * width, "n k -> n k 1") + rearrange(
        columns, "n l -> n 1 l"
    )
    weights = rearrange(down, "n k -> n k 1") * rearrange(across, "n l -> n 1 l")
    return places.flatten(1), weights.flatten(1), inside


def _centers(count: int, device: torch.device) -> Float64[Tensor, " count"]:
    return torch.arange(count, dtype=torch.float64, device=device) + 0.5


def _along(
    position: Float64[Tensor, " n"],
    length: int,
    interpolation: Interpolation,
    *,
    still: bool,
) -> tuple[Int32[Tensor, "n k"], Float32[Tensor, "n k"]]:
    """Return indices along one axis, the outermost repeated, and their weights.

    Example: position 2.8 lies 0.3 behind the center of pixel 2, so it is 0.7 of pixel 2 and 0.3 of pixel 3.

    Args:
        position: pixels, from the edge of the frame.
        length: of the axis, pixels.
        interpolation: two pixels or four.
        still: the axis does not move; one index and a weight of 1 are enough.
    """
    first = (position - 0.5).floor()
    if still:
        whole = torch.ones_like(first, dtype=torch.float32)
        return first.int()[:, None], whole[:, None]
    part = (position - 0.5 - first).float()
    offsets = range(2) if interpolation == "bilinear" else range(-1, 3)
    indices = torch.stack([first.int() + offset for offset in offsets], dim=-1)
    return indices.clamp(0, length - 1), _weights(part, interpolation)


def _weights(
    part: Float32[Tensor, " n"], interpolation: Interpolation
) -> Float32[Tensor, "n k"]:
    """Return the weights of the pixels around a place that lies ``part`` (0-1) behind one of them."""
    if interpolation == "bilinear":
        return torch.stack([1 - part, part], dim=-1)
    square = part**2
    cube = part**3
    # Keys' kernel with a = -1, at 1 + part, part, 1 - part and 2 - part.
    two_before = 2 * square - part - cube
    before = 1 - 2 * square + cube
    behind = part + square - cube
    two_behind = cube - square
    return torch.stack([two_before, before, behind, two_behind], dim=-1)
