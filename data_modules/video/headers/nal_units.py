"""The units of an H.264 or HEVC stream: slices, parameter sets, messages (ITU-T H.264 and H.265, sec. 7.3.1)."""

from collections.abc import Iterator

STUFFED = b"\0\0\3"  # the last byte only keeps a start code from appearing
_START = b"\0\0\1"


def length_size(codec: str, extradata: bytes) -> int:
    """Bytes of the number in front of each unit (ISO 14496-15, sec. 5.3.3 and 8.3.3); 0 where a start code is there."""
    if codec == "h264":
        return (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0
    start_code = extradata[:2] == b"\0\0" and extradata[2:3] in (b"\0", b"\1")
    return 0 if len(extradata) < 23 or start_code else (extradata[21] & 3) + 1


def header_units(codec: str, extradata: bytes) -> list[bytes]:
    """The parameter sets that a container keeps apart from the pictures.

    Raises:
        ValueError: they end too early.
    """
    if not length_size(codec, extradata):
        return list(marked_units(extradata))
    return list(_avc_units(extradata) if codec == "h264" else _hevc_units(extradata))


def marked_units(data: bytes) -> Iterator[bytes]:
    """Units that start codes part."""
    start = data.find(_START)
    while start >= 0:
        end = data.find(_START, start + 3)
        yield data[start + 3 : end if end >= 0 else None].rstrip(b"\0")
        start = end


def counted_units(data: bytes, size: int) -> Iterator[bytes]:
    """Units with their length in front, a number of ``size`` bytes."""
    place = 0
    while place + size < len(data):
        length = int.from_bytes(data[place : place + size], "big")
        place += size
        yield data[place : place + length]
        place += length


def plain(payload: bytes) -> bytes:
    """Without the bytes that only keep start codes from appearing."""
    return payload.replace(STUFFED, b"\0\0")


def _avc_units(extradata: bytes) -> Iterator[bytes]:
    place = 5
    for mask in (31, 255):  # sequence parameter sets, then those of pictures
        if place >= len(extradata):
            raise ValueError("the header of the stream ends too early")
        count = extradata[place] & mask
        place += 1
        for _ in range(count):
            length = int.from_bytes(extradata[place : place + 2], "big")
            yield extradata[place + 2 : place + 2 + length]
            place += 2 + length


def _hevc_units(extradata: bytes) -> Iterator[bytes]:
    place = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[place + 1 : place + 3], "big")
        place += 3
        for _ in range(count):
            length = int.from_bytes(extradata[place : place + 2], "big")
            yield extradata[place + 2 : place + 2 + length]
            place += 2 + length
