"""What the header of a video file says, so that no picture has to be decoded.

Decoding the first frame tells whether a video is turned, too, but costs as much as a tenth of a clip.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
_IDENTITY = bytes.fromhex(
    "00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000"
)
_PROJECTION, _TRACKS, _CLUSTER = (
    bytes.fromhex("7670"),
    bytes.fromhex("1654ae6b"),
    bytes.fromhex("1f43b675"),
)
_HEADER = 1 << 16  # bytes; of Matroska, before the first cluster
_LARGEST_BOX = 1 << 26  # bytes; of a movie header that is still searched


def may_be_turned(container: str, path: Path, start: int = 0) -> bool:
    """False only if nothing in the header can turn the picture.

    Args:
        container: FFmpeg's name of the format; those without such a field give False.
        path: a file that FFmpeg has opened.
        start: where the video begins in it, bytes.
    """
    if "mp4" in container:
        return _movie_turned(path, start)
    return "matroska" in container and _matroska_turned(path, start)


def _movie_turned(path: Path, start: int) -> bool:
    """Each movie and track header holds one matrix (ISO 14496-12, sec. 8.2.2 and 8.3.2); all must be the identity."""
    movie = _box(path, start, b"moov")
    return movie.count(_IDENTITY) != movie.count(b"mvhd") + movie.count(b"tkhd")


def _box(path: Path, start: int, name: bytes) -> bytes:
    """The first top-level box of that name; one that is not an identity where there is none."""
    with path.open("rb") as file:
        file.seek(start)
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[:4], "big") - 8
            if size == 1 - 8:
                size = int.from_bytes(file.read(8), "big") - 16
            if head[4:] == name:
                return file.read(min(size, _LARGEST_BOX))
            if size < 0:  # 0: to the end of the file
                break
            file.seek(size, 1)
    return b"tkhd"


def _matroska_turned(path: Path, start: int) -> bool:
    """A track may hold a projection with a roll (RFC 9559, sec. 5.1.4.1.28.41)."""
    with path.open("rb") as file:
        file.seek(start)
        header, cluster, _ = file.read(_HEADER).partition(_CLUSTER)
    return not cluster or _TRACKS not in header or _PROJECTION in header


def stated_duration(metadata: Mapping[str, str]) -> float:
    """How long a Matroska track lasts by its tag DURATION (some add a language), seconds; 0 without one.

    Example: "00:01:02.500000000" are 62.5 seconds.
    """
    for name, value in metadata.items():
        if name.startswith("DURATION") and (clock := _CLOCK.fullmatch(value)):
            hours, minutes, seconds = map(float, clock.groups())
            return 3600 * hours + 60 * minutes + seconds
    return 0.0
