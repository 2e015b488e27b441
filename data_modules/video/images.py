"""A folder of frame images as the track of a video, as Something-Something V1 and extracted data sets come."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float64

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_OTHER_IMAGES = frozenset({".tif", ".tiff", ".gif", ".jp2", ".heic", ".heif", ".avif", ".jxl", ".ppm", ".pgm", ".tga",
                           ".exr", ".dpx"})  # fmt: skip
_ONE_FOLDER = (
    "one folder holds the images of one video: move the others to folders of their own"
)
_LISTED = 5

Picture = TypeVar("Picture")


class ImageTrack(Generic[Picture]):
    """The images of a folder in the natural order of their names: 2.jpg before 10.jpg, 00001.jpg first.

    Args:
        folder: holds images, one a frame; hidden files and files that are no images are passed over.
        read: decodes one image.
        fps: frames a second; a folder does not say.

    Raises:
        ValueError: a rate of 0 or below, or images that are not one series, see :func:`series`.
    """

    codec = "images"
    note = ""
    pixel_ratio = 1.0
    size: tuple[int, int] | None = None  # not known before the first image is read

    def __init__(
        self, folder: Path, read: Callable[[Path], Picture], *, fps: int | float
    ) -> None:
        if fps <= 0:
            raise ValueError(
                f"fps: a folder of images needs a rate above 0 frames a second, got {fps}"
            )
        self._read, self.fps = read, float(fps)
        self.paths = series(folder)

    @property
    def keyframes(self) -> int:
        """Every image stands alone."""
        return len(self.paths)

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """Of each frame, from 0."""
        return np.arange(len(self.paths)) / self.fps

    def pictures(self, ranks: frozenset[int]) -> Iterator[tuple[int, Picture]]:
        """The images at ``ranks`` and no other."""
        return (
            (rank, self._read(self.paths[rank]))
            for rank in sorted(ranks)
            if rank < len(self.paths)
        )


def series(folder: Path) -> list[Path]:
    """The images of a folder in the order of their numbers.

    The names must be alike but for their numbers, and the numbers must count one series: img_1.jpg, img_2.jpg.

    Raises:
        ValueError: no image; several series, such as frames and optical flow; a number that is missing or there
            twice; images of a kind that is not read.
    """
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    images = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in paths if path.suffix.lower() in _OTHER_IMAGES]
    if others:
        raise ValueError(
            f"{folder}: holds {_counted(others)}, which are not read; frames are {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if not images:
        raise ValueError(f"{folder}: {_nothing(paths)}")
    if len(kinds := Counter(map(_kind, images))) > 1:
        raise ValueError(
            f"{folder}: holds several series of images: {_listed(kinds)}; {_ONE_FOLDER}"
        )
    images.sort(key=lambda path: (_numbers(path), path.name))
    _check_numbers(folder, images)
    return images


def _kind(path: Path) -> str:
    """What the images of a series have in common: "img_#.jpg" of img_00001.JPG."""
    suffix = path.suffix.lower().replace(".jpeg", ".jpg")
    return re.sub(r"[0-9]+", "#", path.stem) + suffix


def _numbers(path: Path) -> list[int]:
    """Those in a name, in their order: [2, 10] of cam2_0010.jpg."""
    return [int(number) for number in re.findall(r"[0-9]+", path.stem)]


def _check_numbers(folder: Path, images: Sequence[Path]) -> None:
    """Whether one number of each name counts, and no other contradicts it."""
    numbers = list(map(_numbers, images))
    for (one, other), (number, following) in zip(
        pairwise(images), pairwise(numbers), strict=True
    ):
        if number == following:
            raise ValueError(
                f"{folder}: {one.name} and {other.name} have the same number; {_ONE_FOLDER}"
            )
    counters = [
        column
        for column in zip(*numbers, strict=True)
        if all(a < b for a, b in pairwise(column))
    ]
    if len(images) > 1 and not counters:
        names = f"{images[0].name} to {images[-1].name}"
        raise ValueError(
            f"{folder}: the images {names} are several series, because none of the numbers in their names rises from "
            f"each to the next; {_ONE_FOLDER}"
        )
    if counters:
        _check_gaps(
            folder, images, min(counters, key=lambda counter: counter[-1] - counter[0])
        )


def _check_gaps(folder: Path, images: Sequence[Path], counter: Sequence[int]) -> None:
    """Most steps between neighbours are equal and some are multiples of them: images are missing there.

    Numbers without such a step are times, not counts.
    """
    steps = Counter(b - a for a, b in pairwise(counter))
    step, count = steps.most_common(1)[0] if steps else (1, 0)
    lost = [a + step for a, b in pairwise(counter) if b - a != step]
    if lost and 2 * count > len(counter) and all(other % step == 0 for other in steps):
        first = ", ".join(map(str, lost[:_LISTED])) + (
            ", ..." if len(lost) > _LISTED else ""
        )
        raise ValueError(
            f"{folder}: images are missing: {images[0].name} to {images[-1].name} are {len(images)} images without "
            f"number {first}; add them, or number the images without holes"
        )


def _nothing(paths: Sequence[Path]) -> str:
    folders = sorted(path.name for path in paths if path.is_dir())
    nested = (
        f"; the folders in it, such as {folders[0]}, are other videos"
        if folders
        else ""
    )
    return f"holds no frame that decodes: no file of {', '.join(sorted(IMAGE_SUFFIXES))} lies in it{nested}"


def _counted(paths: Sequence[Path]) -> str:
    kinds = Counter(path.suffix.lower() for path in paths)
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))


def _listed(kinds: Counter[str]) -> str:
    most_first = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    first = ", ".join(f"{count} {kind}" for kind, count in most_first[:_LISTED])
    return first + (", ..." if len(kinds) > _LISTED else "")
