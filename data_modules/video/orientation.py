"""Whether an H.264 or HEVC stream itself asks for its pictures to be turned or mirrored.

Such a message may be there beside, or without, a display matrix of the container; the decoder reads it, and this only
tells whether the first picture has to be decoded before its size is known.
"""

from collections.abc import Iterator

_DISPLAY_ORIENTATION = 47  # payload type: ITU-T H.264, sec. D.1.27; ITU-T H.265, sec. D.2.17
_SEI = {"h264": frozenset({6}), "hevc": frozenset({39})}  # types of the units with messages that go before a picture
_UNREAD = frozenset({"vvc"})  # may hold such a message, which is not looked for
_START = b"\0\0\1"


def may_be_turned(codec: str, extradata: bytes, packet: bytes) -> bool:
    """False only if no message before the first picture asks for its display to be turned or mirrored.

    Args:
        codec: FFmpeg's name.
        extradata: of the stream, as its container stores it.
        packet: the first one.
    """
    if codec not in _SEI:
        return codec in _UNREAD
    framed = extradata[:1] == b"\1"  # units begin with their size and not with a start code
    units = _framed(packet, _length_size(codec, extradata)) if framed else _between_starts(packet)
    messages = [unit for unit in units if _type(codec, unit) in _SEI[codec]]
    return any(_DISPLAY_ORIENTATION in _payloads(codec, unit) for unit in messages) or (
        codec == "hevc" and any(_DISPLAY_ORIENTATION in _payloads(codec, unit) for unit in _in_record(extradata))
    )


def _type(codec: str, unit: bytes) -> int:
    """ITU-T H.264, sec. 7.3.1; ITU-T H.265, sec. 7.3.1.2."""
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _length_size(codec: str, extradata: bytes) -> int:
    """Bytes of the size before each unit (ISO 14496-15, sec. 5.3.3.1 and 8.3.3.1)."""
    place = 4 if codec == "h264" else 21
    return (extradata[place] & 3) + 1 if len(extradata) > place else 4


def _framed(packet: bytes, length_size: int) -> Iterator[bytes]:
    place = 0
    while place + length_size < len(packet):
        size = int.from_bytes(packet[place : place + length_size], "big")
        place += length_size
        if unit := packet[place : place + size]:
            yield unit
        place += size


def _between_starts(stream: bytes) -> Iterator[bytes]:
    """The units of a byte stream (ITU-T H.264, annex B)."""
    return (unit for unit in stream.split(_START)[1:] if unit)


def _in_record(extradata: bytes) -> Iterator[bytes]:
    """The units with messages in an HEVC header: of MP4 and Matroska (ISO 14496-15, sec. 8.3.3.1), or a byte stream."""
    if extradata[:1] != b"\1":
        yield from (unit for unit in _between_starts(extradata) if _type("hevc", unit) in _SEI["hevc"])
        return
    place = 23
    for _ in range(extradata[22] if len(extradata) > 22 else 0):
        if place >= len(extradata):
            return
        kind, count = extradata[place] & 63, int.from_bytes(extradata[place + 1 : place + 3], "big")
        place += 3
        for _ in range(count):
            size = int.from_bytes(extradata[place : place + 2], "big")
            if kind in _SEI["hevc"]:
                yield extradata[place + 2 : place + 2 + size]
            place += 2 + size


def _payloads(codec: str, unit: bytes) -> set[int]:
    """The types of the messages in a unit (ITU-T H.264, sec. 7.3.2.3.1; ITU-T H.265, sec. 7.3.5)."""
    plain = unit.replace(b"\0\0\3", b"\0\0")  # bytes that only keep start codes from appearing
    place, types = 1 if codec == "h264" else 2, set[int]()
    while place + 2 < len(plain):  # the last byte only ends the unit
        kind, place = _number(plain, place)
        size, place = _number(plain, place)
        types.add(kind)
        place += size
    return types


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in bytes of which all but the last are 255, and where it ends."""
    start = place
    while data[place : place + 1] == b"\xff":
        place += 1
    last = data[place] if place < len(data) else 0
    return 255 * (place - start) + last, place + 1
