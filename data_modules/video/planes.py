"""Copy a box of YUV 4:2:0 pictures into rows of bytes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from data_modules.transforms.crops import Box


class _Part(NamedTuple):
    """Hold what a row takes of one plane.

    Attributes:
        slices: rows and columns of the plane.
        size: height and width of that, as a row holds it.
        place: in the row.
    """

    slices: tuple[slice, slice]
    size: tuple[int, int]
    place: slice


class PlaneLayout:
    """Hold where the parts of three planes lie in a row: luma, then U, then V.

    A chroma sample belongs to 2 x 2 pixels, so the box grows to even edges:

        columns   0   1 | 2   3 | 4   5        box      left 1, width 4: columns 1 to 4
        box           [ x   x   x   x ]        grown    left 0, width 6: columns 0 to 5
        grown   [ x   x   x   x   x   x ]      inside   left 1, width 4 of grown
        chroma    0     | 1     | 2            row      6 luma, 3 U, 3 V a line of two

    Args:
        box: the part that is wanted of each picture, pixels.

    Attributes:
        grown: the smallest box around it with even edges.
        inside: the box inside ``grown``.
        size: bytes of a row.
    """

    def __init__(self, box: Box) -> None:
        top = box.top % 2
        left = box.left % 2
        height = box.height + top
        width = box.width + left
        height += height % 2
        width += width % 2
        self.grown = Box(box.top - top, box.left - left, height, width)
        self.inside = Box(top, left, box.height, box.width)
        area = height * width
        self.size = area * 3 // 2
        half = Box(*(side // 2 for side in self.grown))
        self._parts = (
            _part(self.grown, start=0),
            _part(half, start=area),
            _part(half, start=area + area // 4),
        )

    def write(
        self,
        planes: Sequence[UInt8[np.ndarray, "_ _"]],
        row: UInt8[np.ndarray, " n"],
    ) -> None:
        """Copy what the box shows of the planes of one picture into ``row``."""
        for plane, part in zip(planes, self._parts, strict=True):
            _fill(row[part.place].reshape(part.size), plane[part.slices])


def slices_of(box: Box) -> tuple[slice, slice]:
    """Return the rows and the columns of a box."""
    rows = slice(box.top, box.top + box.height)
    columns = slice(box.left, box.left + box.width)
    return rows, columns


def _part(box: Box, *, start: int) -> _Part:
    place = slice(start, start + box.height * box.width)
    return _Part(slices_of(box), (box.height, box.width), place)


def _fill(out: UInt8[np.ndarray, "h w"], part: UInt8[np.ndarray, "h2 w2"]) -> None:
    """Copy the part; beyond the end of an odd plane double its last row and column."""
    height, width = part.shape
    out[:height, :width] = part
    if part.shape != out.shape:
        out[height:, :width] = part[-1:]
        out[:, width:] = out[:, width - 1 : width]
