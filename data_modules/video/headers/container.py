"""Read what the header of a container says of a video, so that no picture has to be decoded.

Decoding the first frame also tells whether a video is rotated, but costs as much as a tenth of a clip.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")

# The identity as MP4 stores a display matrix: 16.16 fixed point, the last column 2.30.
_IDENTITY = bytes.fromhex(
    "00010000 00000000 0000000000000000 00010000 0000000000000000 00000000 40000000"
)

# Element identifiers of Matroska (RFC 9559, sec. 5.1).
_PROJECTION = bytes.fromhex("7670")
_TRACKS = bytes.fromhex("1654ae6b")
_CLUSTER = bytes.fromhex("1f43b675")

_HEADER = (
    1 << 16
)  # bytes of a Matroska file that are searched for the first cluster
_LARGEST_BOX = 1 << 26  # bytes of a movie header that are still searched


def may_be_turned(container: str, path: Path, start: int = 0) -> bool:
    """Return False only if nothing in the container's header can rotate or mirror the picture.

    Args:
        container: FFmpeg's name of the format; formats without such a field give False.
        path: a file that FFmpeg has opened.
        start: where the video begins in it, bytes.
    """
    if "mp4" in container:
        return _mp4_may_be_turned(path, start)
    return "matroska" in container and _matroska_may_be_turned(path, start)


def _mp4_may_be_turned(path: Path, start: int) -> bool:
    """Tell whether a movie or track header holds another matrix than the identity.

    Each of these headers holds one matrix (ISO 14496-12, sec. 8.2.2 and 8.3.2).
    """
    movie = _box(path, start, b"moov")
    headers = movie.count(b"mvhd") + movie.count(b"tkhd")
    return movie.count(_IDENTITY) != headers


def _box(path: Path, start: int, name: bytes) -> bytes:
    """Return the first top-level box of that name; without one, a track header that holds no matrix.

    A box is 4 bytes of its whole size, 4 of its name, and its content. A size of 1 says that 8 bytes with the size
    follow the name, 0 that the box goes on to the end of the file.
    """
    with path.open("rb") as file:
        file.seek(start)
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[:4], "big") - 8
            if size == 1 - 8:
                size = int.from_bytes(file.read(8), "big") - 16
            if head[4:] == name:
                return file.read(min(size, _LARGEST_BOX))
            if size < 0:  # it goes on to the end of the file
                break
            file.seek(size, 1)
    # One header and no identity: the file counts as possibly rotated.
    return b"tkhd"


def _matroska_may_be_turned(path: Path, start: int) -> bool:
    """Tell whether a track may hold a projection with a roll (RFC 9559, sec. 5.1.4.1.28.41)."""
    with path.open("rb") as file:
        file.seek(start)
        header, cluster, _ = file.read(_HEADER).partition(_CLUSTER)
    # Without tracks before the first cluster they stand elsewhere, and nothing is known.
    return not cluster or _TRACKS not in header or _PROJECTION in header


def stated_duration(metadata: Mapping[str, str]) -> float:
    """Return how long a Matroska track lasts by its tag DURATION, seconds; 0 without one.

    Some programs add a language to the name of the tag: DURATION-eng.

    Example: "00:01:02.500000000" are 62.5 seconds.
    """
    for name, value in metadata.items():
        if not name.startswith("DURATION"):
            continue
        if clock := _CLOCK.fullmatch(value):
            hours, minutes, seconds = map(float, clock.groups())
            return 3600 * hours + 60 * minutes + seconds
    return 0.0
