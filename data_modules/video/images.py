"""Read a folder of frame images as the track of a video, as Something-Something V1 and extracted data sets come."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float64

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
# Images that are not read, but would leave holes in a series if they were passed over.
_OTHER_IMAGES = frozenset(
    {".tif", ".tiff", ".gif", ".jp2", ".heic", ".heif", ".avif", ".jxl"}
    | {".ppm", ".pgm", ".tga", ".exr", ".dpx"}
)
_READ = ", ".join(sorted(IMAGE_SUFFIXES))
_ONE_FOLDER = "one folder holds the images of one video: move the others to folders of their own"
_LISTED = 5

Image = TypeVar("Image")


class ImageTrack(Generic[Image]):
    """Read the images of a folder in the natural order of their names: 2.jpg before 10.jpg, 00001.jpg first.

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
        self, folder: Path, read: Callable[[Path], Image], *, fps: int | float
    ) -> None:
        if fps <= 0:
            raise ValueError(
                "fps: a folder of images needs a rate "
                f"above 0 frames a second, got {fps}"
            )
        self._read = read
        self.fps = float(fps)
        self.paths = series(folder)

    @property
    def keyframes(self) -> int:
        """Return the number of images, because decoding can start at each."""
        return len(self.paths)

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """Return the time of each frame, seconds from 0."""
        return np.arange(len(self.paths)) / self.fps

    def pictures(self, ranks: frozenset[int]) -> Iterator[tuple[int, Image]]:
        """Yield the images at ``ranks`` and no other, each with its rank."""
        for rank in sorted(ranks):
            if rank < len(self.paths):
                yield rank, self._read(self.paths[rank])


def series(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of their numbers.

    The names must be alike but for their numbers, and the numbers must count one series: img_1.jpg, img_2.jpg.

    Raises:
        ValueError: no image; several series, such as frames and optical flow; a number that is missing or there
            twice; images of a kind that is not read.
    """
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    others = _of(_OTHER_IMAGES, paths)
    if others:
        raise ValueError(
            f"{folder}: holds {_counted(others)}, "
            f"which are not read; frames are {_READ}"
        )
    images = _of(IMAGE_SUFFIXES, paths)
    if not images:
        raise ValueError(f"{folder}: {_nothing(paths)}")
    patterns = Counter(map(_pattern, images))
    if len(patterns) > 1:
        raise ValueError(
            f"{folder}: holds several series of "
            f"images: {_listed(patterns)}; {_ONE_FOLDER}"
        )
    images.sort(key=lambda path: (_numbers(path), path.name))
    _check_numbers(folder, images)
    return images


def _of(suffixes: frozenset[str], paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in suffixes]


def _pattern(path: Path) -> str:
    """Return what the images of a series have in common: "img_#.jpg" of img_00001.JPG."""
    suffix = path.suffix.lower().replace(".jpeg", ".jpg")
    return re.sub(r"[0-9]+", "#", path.stem) + suffix


def _numbers(path: Path) -> list[int]:
    """Return the numbers in a name, in their order: [2, 10] of cam2_0010.jpg."""
    return [int(number) for number in re.findall(r"[0-9]+", path.stem)]


def _check_numbers(folder: Path, images: Sequence[Path]) -> None:
    """Refuse images of which no number in their names counts, or another number contradicts it.

    Each place of a number in the names is a column. Of cam2_0010.jpg, cam2_0011.jpg and cam2_0012.jpg the columns are
    (2, 2, 2) and (10, 11, 12), and the second one counts.
    """
    numbers = [_numbers(path) for path in images]
    for (one, other), (number, following) in zip(
        pairwise(images), pairwise(numbers), strict=True
    ):
        if number == following:
            raise ValueError(
                f"{folder}: {one.name} and {other.name} "
                f"have the same number; {_ONE_FOLDER}"
            )
    counters = [column for column in zip(*numbers, strict=True) if _rises(column)]
    if counters:
        # Of several columns that rise, that which rises least is the count; others may be times.
        _check_gaps(folder, images, min(counters, key=lambda c: c[-1] - c[0]))
    elif len(images) > 1:
        names = f"{images[0].name} to {images[-1].name}"
        raise ValueError(
            f"{folder}: the images {names} are several series, "
            "because none of the numbers in their names rises from "
            f"each to the next; {_ONE_FOLDER}"
        )


def _rises(column: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(column))


def _check_gaps(
    folder: Path, images: Sequence[Path], counter: Sequence[int]
) -> None:
    """Refuse a count with holes: most steps between neighbors are equal, and the others are multiples of them.

    Numbers without such a step are times, not counts.

    Example: of 1, 2, 3, 5, 6 number 4 is missing; 0, 40, 83, 120 are times.
    """
    steps = Counter(b - a for a, b in pairwise(counter))
    step, count = steps.most_common(1)[0] if steps else (1, 0)
    lost = [a + step for a, b in pairwise(counter) if b - a != step]
    is_count = all(other % step == 0 for other in steps)
    if lost and 2 * count > len(counter) and is_count:
        names = f"{images[0].name} to {images[-1].name}"
        raise ValueError(
            f"{folder}: images are missing: {names} are {len(images)} images without "
            f"number {_first(map(str, lost), len(lost))}; "
            "add them, or number the images without holes"
        )


def _nothing(paths: Sequence[Path]) -> str:
    folders = sorted(path.name for path in paths if path.is_dir())
    if not folders:
        return f"holds no frame that decodes: no file of {_READ} lies in it"
    return (
        f"holds no frame that decodes: no file of {_READ} lies in it; "
        f"the folders in it, such as {folders[0]}, are other videos"
    )


def _counted(paths: Sequence[Path]) -> str:
    suffixes = Counter(path.suffix.lower() for path in paths)
    return ", ".join(
        f"{count} {suffix}" for suffix, count in sorted(suffixes.items())
    )


def _listed(patterns: Counter[str]) -> str:
    most_first = sorted(patterns.items(), key=lambda kind: (-kind[1], kind[0]))
    texts = (f"{count} {pattern}" for pattern, count in most_first)
    return _first(texts, len(patterns))


def _first(texts: Iterable[str], count: int) -> str:
    """Return the first of ``count`` texts, with dots where there are more."""
    dots = ", ..." if count > _LISTED else ""
    return ", ".join(islice(texts, _LISTED)) + dots
