"""In which order the pictures of an H.264 or HEVC stream are shown, by the numbers that their slices hold.

A container holds presentation times as well, but not all that writes files knows these codecs, and then the times are
wrong. A decoder goes by the numbers alone. They stand in the first bytes of each picture, so nothing has to be decoded,
and those of all pictures are read at once.
"""

import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from data_modules.video.headers.nal_units import (
    STUFFED,
    counted_units,
    header_units,
    length_size,
    marked_units,
    plain,
)
from data_modules.video.headers.parameter_set import Numbering, SliceStart, numbering

_HEAD = 24  # bytes of a slice that are kept: the number stands in the first 18, a few may be stuffed in between
_H264_INSTANT, _HEVC_INSTANT, _HEVC_KEYS, _HEVC_LEADING = (
    5,
    (19, 20),
    16,
    (6, 7, 8, 9),
)  # types of slices
_H264_SLICES = frozenset(
    bytes([byte]) for byte in range(256) if byte & 31 in (1, _H264_INSTANT)
)
_HEVC_SLICES = frozenset(
    bytes([byte])
    for byte in range(256)
    if byte >> 1 & 63 in (*range(10), *range(16, 22))
)
_H264_SETS = frozenset(bytes([byte]) for byte in range(256) if byte & 31 == 7)
_HEVC_SETS = frozenset(
    bytes([byte]) for byte in range(256) if byte >> 1 & 63 in (33, 34)
)
_HEVC_ENDS = (
    b"\x48\1",
    b"\x4a\1",
)  # of a sequence and of the stream: what follows is numbered anew
_PERIOD = 1 << 40  # more than any two numbers of one sequence are apart
_CODE = 16  # bits that tell how long an Exp-Golomb code is: no field that is passed over has a longer half


class PictureOrder:
    """Collects what the packets of one stream say.

    Args:
        codec: ``h264`` or ``hevc``.
        extradata: what the container holds apart from the packets.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._codec, self._length = codec, length_size(codec, extradata)
        self._head = struct.Struct(f"{self._length}x{_HEAD}s")
        self._slices, self._sets = (
            (_H264_SLICES, _H264_SETS)
            if codec == "h264"
            else (_HEVC_SLICES, _HEVC_SETS)
        )
        self._heads, self._tails = list[bytes](), list[bytes]()
        self._told = set[
            Numbering | SliceStart | None
        ]()  # None: a set that cannot be read
        with suppress(ValueError):
            for unit in header_units(codec, extradata):
                self._note(unit)

    def extend(self, packets: Sequence[Any]) -> None:
        """Take the next packets, objects with bytes, in decoding order."""
        heads, slices = self._starts(packets), self._slices
        for number in [
            number for number, head in enumerate(heads) if head[:1] not in slices
        ]:
            heads[number] = self._first_slice(bytes(packets[number]))
        self._heads += heads
        if self._codec == "hevc":
            self._tails += [bytes(memoryview(packet)[-2:]) for packet in packets]

    def _starts(self, packets: Sequence[Any]) -> list[bytes]:
        """The first bytes of the first unit of each; empty where start codes part units."""
        if not self._length:
            return [b""] * len(packets)
        unpack = self._head.unpack_from
        try:
            return [head for packet in packets for head in unpack(packet)]
        except struct.error:  # a packet is shorter
            return [
                bytes(memoryview(packet)[self._length : self._length + _HEAD])
                for packet in packets
            ]

    def _first_slice(self, packet: bytes) -> bytes:
        """Empty where there is none."""
        for unit in (
            counted_units(packet, self._length)
            if self._length
            else marked_units(packet)
        ):
            if unit[:1] in self._slices:
                return unit[:_HEAD]
            self._note(unit)
        return b""

    def _note(self, unit: bytes) -> None:
        if unit[:1] in self._sets:
            try:
                self._told.add(numbering(self._codec, unit))
            except (ValueError, IndexError):
                self._told.add(None)

    def begin_pictures(self) -> bool:
        """Whether each packet has a slice, the first one of which is the first of a picture."""
        place = (
            1 if self._codec == "h264" else 2
        )  # of that bit: the code of 0, or a flag
        return all(head[place : place + 1] >= b"\x80" for head in self._heads)

    def order(self) -> Int64[np.ndarray, " p"] | None:
        """The packets by their place in the presentation; None where slices do not tell it.

        That is where parameter sets differ or are of a rare kind, where packets hold fields or no whole picture, and
        where pictures may be hidden.
        """
        sequences = [told for told in self._told if isinstance(told, Numbering)]
        pictures = [told for told in self._told if isinstance(told, SliceStart)]
        if len(sequences) != 1 or None in self._told or not all(self._heads):
            return None
        if self._codec == "h264":
            return _h264(_Heads(self._heads, 1), sequences[0])
        if (
            len(pictures) != 1
            or pictures[0].may_hide
            or any(tail in _HEVC_ENDS for tail in self._tails[:-1])
        ):
            return None
        return _hevc(_Heads(self._heads, 2), sequences[0], pictures[0].extra_bits)


class _Heads:
    """Reads the same field of all slice headers (ITU-T H.264, sec. 7.3.1 and 9.1; H.265, sec. 7.3.1.1 and 9.2).

    Args:
        heads: the first bytes of each slice, from its unit's header on.
        skip: bytes of that header.
    """

    def __init__(self, heads: list[bytes], skip: int) -> None:
        joined = b"".join(heads)
        if STUFFED in joined or len(joined) < _HEAD * len(heads):
            joined = b"".join(
                [
                    (head[:skip] + plain(head[skip:])).ljust(_HEAD, b"\0")
                    for head in heads
                ]
            )
        rows = np.frombuffer(joined, np.uint8).reshape(-1, _HEAD)
        self.first, self.second = rows[:, 0], rows[:, 1]
        both = rows[:, skip : skip + 16].copy().view(">u8").astype(np.uint64)
        self._bits, self._further = both[:, 0], both[:, 1]
        self._place: UInt8[np.ndarray, " p"] | int = 0

    def refill(self) -> None:
        """Have 64 bits ahead again, where 1 to 63 were read."""
        self._bits |= self._further >> (64 - self._place)

    def number(self, count: int) -> Int64[np.ndarray, " p"]:
        """Of ``count`` bits, 1 or more."""
        found = self._bits >> (64 - count)
        self.skip(count)
        return found.view(np.int64)

    def ahead(self) -> Bool[np.ndarray, " p"]:
        """Whether the next bit is set, without passing over it."""
        return self._bits >> 63 == 1

    def skip(self, count: UInt8[np.ndarray, " p"] | int) -> None:
        """Pass over so many bits."""
        self._bits = self._bits << count
        self._place = self._place + count

    def code(self, of: Bool[np.ndarray, " p"] | bool = True) -> None:
        """Pass over an Exp-Golomb code of some slices."""
        self.skip(_code_lengths()[self._bits >> (64 - _CODE)] * of)


@cache
def _code_lengths() -> UInt8[np.ndarray, " n"]:
    """Bits of an Exp-Golomb code by the next 16: some zeros, a one and as many bits behind it.

    Example: 00101... begins with a code of 5 bits.
    """
    zeros = _CODE - np.frexp(np.arange(1 << _CODE))[1]
    return (2 * zeros + 1).astype(np.uint8)


def _h264(heads: _Heads, told: Numbering) -> Int64[np.ndarray, " p"] | None:
    """ITU-T H.264, sec. 7.3.3 and 8.2.1."""
    whole = heads.number(
        1
    )  # a picture begins with its first macroblock: the code of 0 is one bit
    if told.order_bits is None or not whole.all():
        return None
    heads.code()
    heads.code()
    heads.skip(told.plane_bits + told.frame_bits)
    if told.fields and heads.number(1).any():
        return None
    if not told.order_bits:
        return np.arange(len(whole))
    instant = heads.first & 31 == _H264_INSTANT
    heads.refill()
    heads.code(instant)
    return _sorted(
        heads.number(told.order_bits), told.order_bits, heads.first & 96 > 0, instant
    )


def _hevc(
    heads: _Heads, told: Numbering, extra_bits: int
) -> Int64[np.ndarray, " p"] | None:
    """ITU-T H.265, sec. 7.3.6.1 and 8.3.1."""
    kind = heads.first >> 1 & 63
    key, instant = kind >= _HEVC_KEYS, np.isin(kind, _HEVC_INSTANT)
    whole = heads.number(1)
    dropping = heads.ahead() & key  # what has not been shown yet
    broken_link = key & (kind < _HEVC_INSTANT[0])
    if (
        told.order_bits is None
        or not whole.all()
        or dropping[1:].any()
        or broken_link.any()
    ):
        return None
    heads.skip(key.astype(np.uint8))
    heads.code()
    heads.skip(extra_bits)
    heads.code()
    heads.skip(told.plane_bits)
    anchor = (
        (heads.second & 7 == 1)
        & ~np.isin(kind, _HEVC_LEADING)
        & (key | (kind % 2 == 1))
    )
    return _sorted(
        heads.number(told.order_bits) * ~instant, told.order_bits, anchor, instant
    )


def _sorted(
    low: Int64[np.ndarray, " p"],
    bits: int,
    anchor: Bool[np.ndarray, " p"],
    instant: Bool[np.ndarray, " p"],
) -> Int64[np.ndarray, " p"] | None:
    """By the whole numbers, of which slices hold the low bits; they begin anew at each instant refresh.

    A number is the one nearest to that of the last anchor before it, the larger of two. None where two are the same.
    """
    anchor[0] = True
    places = anchor.nonzero()[0]
    last = np.cumsum(anchor) - 1 - anchor
    last[0] = 0
    back = (
        (low[places][last] - low) << 64 - bits >> 64 - bits
    )  # the low bits are all that is known of a difference
    number = -np.cumsum(back[places])[last] - back + _PERIOD * np.cumsum(instant)
    order = np.argsort(number)
    number = number[order]
    return None if (number[1:] == number[:-1]).any() else order
