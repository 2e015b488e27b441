"""A folder of frame images as the track of a video, as Something-Something V1 and extracted data sets come."""

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float64

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

Picture = TypeVar("Picture")


class ImageTrack(Generic[Picture]):
    """The images of a folder in the natural order of their names: 2.jpg before 10.jpg, 00001.jpg first.

    Args:
        folder: holds images, one a frame; other files are passed over.
        read: decodes one image.
        fps: frames a second; a folder does not say.

    Raises:
        ValueError: a rate of 0 or below.
    """

    codec = "images"
    pixel_ratio = 1.0
    size: tuple[int, int] | None = None  # not known before the first image is read

    def __init__(self, folder: Path, read: Callable[[Path], Picture], *, fps: int | float) -> None:
        if fps <= 0:
            raise ValueError(f"fps: a folder of images needs a rate above 0 frames a second, got {fps}")
        self._read, self.fps = read, float(fps)
        images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        self._paths = sorted(images, key=lambda path: (_natural(path.stem), path.name))

    @property
    def keyframes(self) -> int:
        """Every image stands alone."""
        return len(self._paths)

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """Of each frame, from 0."""
        return np.arange(len(self._paths)) / self.fps

    def pictures(self, ranks: frozenset[int]) -> Iterator[tuple[int, Picture]]:
        """The images at ``ranks`` and no other."""
        return ((rank, self._read(self._paths[rank])) for rank in sorted(ranks) if rank < len(self._paths))

    def check(self) -> None:
        """Decode every image; errors of ``read``."""
        for path in self._paths:
            self._read(path)


def _natural(name: str) -> list[tuple[int, str]]:
    """Digits count as one number: "img_10" is (0, "img_"), (10, "")."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]
