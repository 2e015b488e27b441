"""Whether an H.264 or HEVC stream itself asks for its pictures to be turned or mirrored.

Such a message may be there beside, or without, a display matrix of the container; the decoder reads it, and this only
tells whether the first picture has to be decoded before its size is known.
"""

from data_modules.video.headers.nal_units import (
    counted_units,
    header_units,
    length_size,
    marked_units,
    plain,
)

_DISPLAY_ORIENTATION = (
    47  # payload type: ITU-T H.264, sec. D.1.27; ITU-T H.265, sec. D.2.17
)
_SEI = {
    "h264": 6,
    "hevc": 39,
}  # type of the units with messages that go before a picture
_UNREAD = frozenset({"vvc"})  # may hold such a message, which is not looked for


def may_be_turned(codec: str, extradata: bytes, packet: bytes) -> bool:
    """False only if no message before the first picture asks for its display to be turned or mirrored.

    Args:
        codec: FFmpeg's name.
        extradata: of the stream, as its container stores it.
        packet: the first one.
    """
    if codec not in _SEI:
        return codec in _UNREAD
    size = length_size(codec, extradata)
    units = list(counted_units(packet, size) if size else marked_units(packet))
    if codec == "hevc":
        units += header_units(codec, extradata)
    messages = [unit for unit in units if unit and _type(codec, unit) == _SEI[codec]]
    return any(_DISPLAY_ORIENTATION in _payloads(codec, unit) for unit in messages)


def _type(codec: str, unit: bytes) -> int:
    """ITU-T H.264, sec. 7.3.1; ITU-T H.265, sec. 7.3.1.2."""
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _payloads(codec: str, unit: bytes) -> set[int]:
    """The types of the messages in a unit (ITU-T H.264, sec. 7.3.2.3.1; ITU-T H.265, sec. 7.3.5)."""
    content = plain(unit)
    place, types = 1 if codec == "h264" else 2, set[int]()
    while place + 2 < len(content):  # the last byte only ends the unit
        kind, place = _number(content, place)
        size, place = _number(content, place)
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
