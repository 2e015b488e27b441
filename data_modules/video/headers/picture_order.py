"""Find in which order the pictures of an H.264 or HEVC stream are shown, by the numbers that their slices hold.

A container holds presentation times as well, but some programs write wrong ones, because they do not know that these
codecs reorder pictures. A decoder goes by the numbers alone. They stand in the first bytes of each picture, so nothing
has to be decoded, and those of all pictures are read at once.

    packet                   0   1   2   3   4   5   6   7
    number in its slice      0   8   4   2   6   0   4   2
    numbers begin anew       *                   *
    packet of each frame     0   3   2   4   1   5   7   6
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from data_modules.video.headers.nal_units import (
    counted_units,
    header_units,
    length_size,
    marked_units,
)
from data_modules.video.headers.parameter_set import (
    Numbering,
    SliceStart,
    numbering,
)
from data_modules.video.headers.slice_heads import HEAD_BYTES, SliceHeads

# Types of units with slices that refer to nothing before them, and of others.
_H264_INSTANT = 5
_H264_TYPES = (1, _H264_INSTANT)
_HEVC_INSTANT = (19, 20)
_HEVC_KEYS = 16  # this type and all above
_HEVC_LEADING = (6, 7, 8, 9)  # shown before the key frame that they follow
_HEVC_TYPES = (*range(10), *range(16, 22))
_H264_SETS = (7,)
_HEVC_SETS = (33, 34)
# Ends of a sequence and of the stream: what follows is numbered anew.
_HEVC_ENDS = (b"\x48\1", b"\x4a\1")
_PERIOD = 1 << 40  # more than any two numbers of one sequence are apart


def _first_bytes(shift: int, mask: int, types: Sequence[int]) -> frozenset[bytes]:
    """Return the first bytes that units of these types may have."""
    found = set[bytes]()
    for byte in range(256):
        if byte >> shift & mask in types:
            found.add(bytes([byte]))
    return frozenset(found)


# A look-up by the first byte costs less for each packet than to take its bits apart.
_SLICES = {
    "h264": _first_bytes(0, 31, _H264_TYPES),
    "hevc": _first_bytes(1, 63, _HEVC_TYPES),
}
_SETS = {
    "h264": _first_bytes(0, 31, _H264_SETS),
    "hevc": _first_bytes(1, 63, _HEVC_SETS),
}


class PictureOrder:
    """Collect the first slice of each packet of a stream and sort the packets by the numbers in these slices.

    Args:
        codec: ``h264`` or ``hevc``.
        extradata: what the container holds apart from the packets.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._codec = codec
        self._length = length_size(codec, extradata)
        self._head = struct.Struct(f"{self._length}x{HEAD_BYTES}s")
        self._slices = _SLICES[codec]
        self._sets = _SETS[codec]
        self._heads: list[bytes] = []
        self._tails: list[bytes] = []
        # What parameter sets say; None for a set that cannot be read.
        self._told = set[Numbering | SliceStart | None]()
        with suppress(ValueError):
            for unit in header_units(codec, extradata):
                self._note(unit)

    def extend(self, packets: Sequence[Any]) -> None:
        """Take the next packets, objects with bytes, in decoding order."""
        heads = self._starts(packets)
        slices = self._slices
        for number, head in enumerate(heads):
            # Most packets begin with a slice; parameter sets and messages may go before it.
            if head[:1] not in slices:
                heads[number] = self._first_slice(bytes(packets[number]))
        self._heads += heads
        if self._codec == "hevc":
            self._tails += [bytes(memoryview(packet)[-2:]) for packet in packets]

    def _starts(self, packets: Sequence[Any]) -> list[bytes]:
        """Return the first bytes of the first unit of each packet; empty where start codes part units."""
        if not self._length:
            return [b""] * len(packets)
        heads: list[bytes] = []
        # ``struct`` copies these bytes alone; ``bytes(packet)`` would copy the whole packet.
        unpack = self._head.unpack_from
        try:
            for packet in packets:
                heads.append(unpack(packet)[0])
        except struct.error:  # a packet is shorter
            end = self._length + HEAD_BYTES
            return [
                bytes(memoryview(packet)[self._length : end]) for packet in packets
            ]
        return heads

    def _first_slice(self, packet: bytes) -> bytes:
        """Return the first bytes of the first slice; empty where there is none."""
        for unit in self._units(packet):
            if unit[:1] in self._slices:
                return unit[:HEAD_BYTES]
            self._note(unit)
        return b""

    def _units(self, packet: bytes) -> Iterator[bytes]:
        if self._length:
            return counted_units(packet, self._length)
        return marked_units(packet)

    def _note(self, unit: bytes) -> None:
        """Read the unit if it is a parameter set."""
        if unit[:1] not in self._sets:
            return
        try:
            self._told.add(numbering(self._codec, unit))
        except (ValueError, IndexError):
            self._told.add(None)

    def begin_pictures(self) -> bool:
        """Tell whether each packet has a slice, the first one of which is the first of a picture."""
        # The bit that says so is the first behind the unit's header: the Exp-Golomb code of 0 in H.264, a flag in HEVC.
        place = 1 if self._codec == "h264" else 2
        return all(head[place : place + 1] >= b"\x80" for head in self._heads)

    def order(self) -> Int64[np.ndarray, " p"] | None:
        """Return the packets in the order of presentation; None where slices do not tell it.

        They do not where parameter sets differ or are of a rare kind, where packets hold fields or no whole picture,
        and where pictures may be hidden.
        """
        sequences = [told for told in self._told if isinstance(told, Numbering)]
        if len(sequences) != 1 or None in self._told or not all(self._heads):
            return None
        if self._codec == "h264":
            return _h264(SliceHeads(self._heads, 1), sequences[0])
        pictures = [told for told in self._told if isinstance(told, SliceStart)]
        if len(pictures) != 1 or pictures[0].may_hide:
            return None
        if any(tail in _HEVC_ENDS for tail in self._tails[:-1]):
            return None
        return _hevc(
            SliceHeads(self._heads, 2), sequences[0], pictures[0].extra_bits
        )


def _h264(heads: SliceHeads, told: Numbering) -> Int64[np.ndarray, " p"] | None:
    """Sort pictures by their slice headers (ITU-T H.264, sec. 7.3.3 and 8.2.1)."""
    # A picture begins with its first macroblock, number 0, whose code is one bit.
    whole = heads.number(1)
    if told.order_bits is None or not whole.all():
        return None
    heads.skip_code()  # type of the slice
    heads.skip_code()  # parameter set
    heads.skip(told.plane_bits + told.frame_bits)
    if told.fields and heads.number(1).any():
        return None
    if not told.order_bits:
        return np.arange(len(whole))
    instant = heads.first & 31 == _H264_INSTANT
    heads.refill()
    heads.skip_code(instant)  # number of the instant refresh
    number = heads.number(told.order_bits)
    anchor = heads.first & 96 > 0  # others refer to the picture
    return _sorted(number, told.order_bits, anchor, instant)


def _hevc(
    heads: SliceHeads, told: Numbering, extra_bits: int
) -> Int64[np.ndarray, " p"] | None:
    """Sort pictures by their slice headers (ITU-T H.265, sec. 7.3.6.1 and 8.3.1)."""
    kind = heads.first >> 1 & 63
    key = kind >= _HEVC_KEYS
    instant = np.isin(kind, _HEVC_INSTANT)
    whole = heads.number(1)
    if told.order_bits is None or not whole.all():
        return None
    # A key frame may drop pictures that have not been shown yet; a broken link drops those that follow it.
    dropping = heads.ahead() & key
    broken_link = key & (kind < _HEVC_INSTANT[0])
    if dropping[1:].any() or broken_link.any():
        return None
    heads.skip(key.astype(np.uint8))
    heads.skip_code()  # parameter set
    heads.skip(extra_bits)
    heads.skip_code()  # type of the slice
    heads.skip(told.plane_bits)
    # An instant refresh stores no number: it is 0.
    number = heads.number(told.order_bits) * ~instant
    lowest_layer = heads.second & 7 == 1
    is_reference = key | (kind % 2 == 1)
    anchor = lowest_layer & ~np.isin(kind, _HEVC_LEADING) & is_reference
    return _sorted(number, told.order_bits, anchor, instant)


def _sorted(
    low: Int64[np.ndarray, " p"],
    bits: int,
    anchor: Bool[np.ndarray, " p"],
    instant: Bool[np.ndarray, " p"],
) -> Int64[np.ndarray, " p"] | None:
    """Return the order by whole numbers, of which slices hold the low bits and which begin anew at a refresh.

    A number is the one nearest to that of the last anchor before it, the larger of two.

    Args:
        low: the low bits, in decoding order.
        bits: how many of them slices hold.
        anchor: pictures from which the next ones count.
        instant: pictures at which numbers begin anew.

    Returns:
        The packets in the order of presentation; None where two have the same number.
    """
    anchor[0] = True
    places = anchor.nonzero()[0]
    # Of each picture the last anchor before it, as an index into ``places``.
    last = np.cumsum(anchor) - 1 - anchor
    last[0] = 0
    # How far each picture lies behind that anchor. The low bits of a difference are all that is known of it: to shift
    # them up and down again takes the highest of them for the sign.
    back = (low[places][last] - low) << 64 - bits >> 64 - bits
    anchors = -np.cumsum(back[places])
    number = anchors[last] - back + _PERIOD * np.cumsum(instant)
    order = np.argsort(number)
    number = number[order]
    return None if (number[1:] == number[:-1]).any() else order
