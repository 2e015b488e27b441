"""Part an H.264 or HEVC stream into its units: slices, parameter sets, messages.

The syntax is that of ITU-T H.264 and H.265, sec. 7.3.1. A stream marks its units in one of two ways:

    start codes    00 00 01 | unit | 00 00 01 | unit ...     MPEG-TS, AVI, raw streams
    lengths        00 00 00 1a | unit of 26 bytes | ...      MP4, Matroska; 1, 2 or 4 bytes
"""

from collections.abc import Iterator

# The last of these bytes is only there so that no start code appears within a unit.
STUFFED = b"\0\0\3"
_START = b"\0\0\1"


def length_size(codec: str, extradata: bytes) -> int:
    """Return how many bytes the length in front of each unit has; 0 where start codes mark units.

    See ISO 14496-15, sec. 5.3.3 and 8.3.3.

    Args:
        codec: ``h264`` or ``hevc``.
        extradata: of the stream, as its container stores it.
    """
    if codec == "h264":
        counted = len(extradata) > 4 and extradata[0] == 1
        return (extradata[4] & 3) + 1 if counted else 0
    # As in FFmpeg, the version byte decides nothing: drafts of the format wrote 0 for it.
    marked = extradata[:2] == b"\0\0" and extradata[2:3] in (b"\0", b"\1")
    return 0 if len(extradata) < 23 or marked else (extradata[21] & 3) + 1


def header_units(codec: str, extradata: bytes) -> list[bytes]:
    """Return the parameter sets that a container keeps apart from the pictures.

    Args:
        codec: ``h264`` or ``hevc``.
        extradata: of the stream, as its container stores it.

    Raises:
        ValueError: they end too early.
    """
    if not length_size(codec, extradata):
        return list(marked_units(extradata))
    if codec == "h264":
        return list(_avc_units(extradata))
    return list(_hevc_units(extradata))


def marked_units(data: bytes) -> Iterator[bytes]:
    """Yield the units that start codes part."""
    start = data.find(_START)
    while start >= 0:
        end = data.find(_START, start + 3)
        unit = data[start + 3 : end if end >= 0 else None]
        # A start code may be written with more zeros in front; no unit ends with one.
        yield unit.rstrip(b"\0")
        start = end


def counted_units(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the units that have their length in front, a number of ``size`` bytes."""
    place = 0
    while place + size < len(data):
        length = int.from_bytes(data[place : place + size], "big")
        place += size
        yield data[place : place + length]
        place += length


def plain(payload: bytes) -> bytes:
    """Return the payload without the bytes that only keep start codes from appearing."""
    return payload.replace(STUFFED, b"\0\0")


def _avc_units(extradata: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an H.264 header (ISO 14496-15, sec. 5.3.3.1.2)."""
    place = 5
    # First sequence parameter sets, counted in 5 bits; then those of pictures, in 8.
    for mask in (31, 255):
        if place >= len(extradata):
            raise ValueError("the header of the stream ends too early")
        count = extradata[place] & mask
        units, place = _sized_units(extradata, place + 1, count)
        yield from units


def _hevc_units(extradata: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an HEVC header (ISO 14496-15, sec. 8.3.3.1.2)."""
    place = 23
    for _ in range(extradata[22]):
        # One byte names the type of the units, two count them.
        count = int.from_bytes(extradata[place + 1 : place + 3], "big")
        units, place = _sized_units(extradata, place + 3, count)
        yield from units


def _sized_units(data: bytes, place: int, count: int) -> tuple[list[bytes], int]:
    """Return ``count`` units with 2 bytes of length in front, and the place behind them."""
    units: list[bytes] = []
    for _ in range(count):
        length = int.from_bytes(data[place : place + 2], "big")
        units.append(data[place + 2 : place + 2 + length])
        place += 2 + length
    return units, place
