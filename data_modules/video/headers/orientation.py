"""Tell whether an H.264 or HEVC stream itself asks for its pictures to be rotated or mirrored.

Such a message may stand beside a display matrix of the container, or without one. The decoder follows it; here it only
tells whether the first picture has to be decoded before its size is known.
"""

from data_modules.video.headers.nal_units import (
    counted_units,
    header_units,
    length_size,
    marked_units,
    plain,
)

# Payload type of the message: ITU-T H.264, sec. D.1.27; ITU-T H.265, sec. D.2.17.
_DISPLAY_ORIENTATION = 47
# Type of the units with messages that go before a picture.
_SEI = {"h264": 6, "hevc": 39}
# Codecs that may hold such a message, which is not looked for.
_UNREAD = frozenset({"vvc"})


def may_be_turned(codec: str, extradata: bytes, packet: bytes) -> bool:
    """Return False only if no message before the first picture asks for its display to be rotated or mirrored.

    Args:
        codec: FFmpeg's name.
        extradata: of the stream, as its container stores it.
        packet: the first one.
    """
    if codec not in _SEI:
        return codec in _UNREAD
    size = length_size(codec, extradata)
    units = list(counted_units(packet, size) if size else marked_units(packet))
    if codec == "hevc":  # HEVC may keep messages beside its parameter sets
        units += header_units(codec, extradata)
    for unit in units:
        is_message = unit and _type(codec, unit) == _SEI[codec]
        if is_message and _DISPLAY_ORIENTATION in _payloads(codec, unit):
            return True
    return False


def _type(codec: str, unit: bytes) -> int:
    """Return the type of a unit (ITU-T H.264, sec. 7.3.1; ITU-T H.265, sec. 7.3.1.2)."""
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _payloads(codec: str, unit: bytes) -> set[int]:
    """Return the types of the messages in a unit (ITU-T H.264, sec. 7.3.2.3.1; ITU-T H.265, sec. 7.3.5)."""
    content = plain(unit)
    types = set[int]()
    place = 1 if codec == "h264" else 2  # behind the unit's own header
    while place + 2 < len(content):  # the last byte only ends the unit
        kind, place = _number(content, place)
        size, place = _number(content, place)
        types.add(kind)
        place += size
    return types


def _number(data: bytes, place: int) -> tuple[int, int]:
    """Read a number and return it with the place behind it.

    All bytes of it but the last are 255, and their sum is the number.

    Example: ff ff 03 is 513.
    """
    start = place
    while data[place : place + 1] == b"\xff":
        place += 1
    last = data[place] if place < len(data) else 0
    return 255 * (place - start) + last, place + 1
