"""Tell names of videos and of frames from others."""

import os
import re
from collections import Counter
from collections.abc import Iterable

from data_modules.video.images import IMAGE_SUFFIXES

# Containers and raw streams that FFmpeg opens. Where a video is there under several, the first in this order is taken.
VIDEO_SUFFIXES = (
    ".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".ts",
    ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv", ".gif", ".3g2", ".asf",
    ".divx", ".f4v", ".mj2", ".mk3d", ".mpe", ".m1v", ".m2v", ".m2t", ".tp",
    ".trp", ".vob", ".mxf", ".nut", ".ogm", ".qt", ".rm", ".rmvb", ".dv",
    ".ivf", ".obu", ".y4m", ".apng", ".mjpeg", ".mjpg", ".insv", ".m2p", ".mod",
    ".mp4v", ".tod", ".wtv", ".xvid",
    ".264", ".265", ".266", ".avc", ".h264", ".h265", ".h266", ".hevc", ".vvc",
    ".h261", ".h263", ".vc1",
)  # fmt: skip
_RANKS = {suffix: rank for rank, suffix in enumerate(VIDEO_SUFFIXES)}


def is_video(name: str) -> bool:
    """Tell whether a file of this name is taken for a video."""
    return _suffix(name) in _RANKS


def is_image(name: str) -> bool:
    """Tell whether a file of this name is taken for a frame."""
    return _suffix(name) in IMAGE_SUFFIXES


def stem(name: str) -> str:
    """Return the name without the suffixes of videos: "a.v1.mp4.mkv" is "a.v1", a folder "b.1" stays."""
    while (suffix := _suffix(name)) in _RANKS:
        name = name[: -len(suffix)]
    return name


def preference(name: str) -> tuple[int, str]:
    """Return the sort key of names of one stem: common containers first, folders of frames last."""
    return _RANKS.get(_suffix(name), len(_RANKS)), name


def _suffix(name: str) -> str:
    """Return the suffix in small letters."""
    # pathlib takes ten times as long, which is felt with 250,000 names.
    return os.path.splitext(name)[1].lower()


def is_series(names: Iterable[str]) -> bool:
    """Tell whether two or more images among ``names`` differ in nothing but a number, as the frames of a video do.

    Example: img_1.jpg and img_2.jpg do, left.jpg and right.jpg do not.
    """
    patterns = Counter[str]()
    for name in filter(is_image, names):
        patterns[re.sub(r"\d+", "#", name)] += 1
    return any("#" in pattern and count > 1 for pattern, count in patterns.items())
