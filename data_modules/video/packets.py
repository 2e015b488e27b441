"""Collect what the packets of a video track say, in one pass over the file."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64

from data_modules.video.headers.bitstream import frames_shown
from data_modules.video.headers.picture_order import PictureOrder
from data_modules.video.plan import UNKNOWN, PacketTable, presentation
from data_modules.video.source import Source

# Codecs that show pictures in the order of their time stamps, and in that of their packets.
BY_TIME = frozenset({"h264", "hevc"})
BY_PACKET = frozenset({"vp8", "vp9", "av1", "mjpeg", "mpeg4"})
# Videos whose times this process found right. Each is read in every epoch; this saves the look into all its slices.
IN_ORDER = set[int]()
_REMEMBERED = 1 << 18  # videos; a number takes about 100 bytes


class Packets:
    """Hold columns of a table with a row for each packet, in decoding order.

    Of an H.264 stream with B pictures, and what is made of it:

        packet        0     1     2     3     4
        pts           0     4000  1000  2000  3000     presentation time
        key frame     yes   -     -     -     -
        shown         yes   yes   yes   yes   -        an edit list cuts the last one
        order         0, 2, 3, 1                       the packet of each frame, by rank

    Args:
        codec: FFmpeg's name.
        extradata: of the stream, as its container stores it.
        source: of which nothing is known: slices tell whether its times are in the order of its pictures. None: they
            need not be read.
        may_be_joined: whether files of this container may be written one behind the other.
    """

    def __init__(
        self,
        codec: str,
        extradata: bytes,
        source: Source | None = None,
        *,
        may_be_joined: bool = False,
    ) -> None:
        self._codec = codec
        self._may_be_joined = may_be_joined
        self._lacking: list[bool] = []
        self._decoding_times: list[int | None] = []
        self._times: list[int | None] = []
        self._keyframe: list[bool] = []
        self._shown: list[int | None] = []
        self._identity = source.identity() if source and codec in BY_TIME else None
        unknown = self._identity is not None and self._identity not in IN_ORDER
        self._numbers = PictureOrder(codec, extradata) if unknown else None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._times)

    def extend(self, packets: Sequence[Any]) -> None:
        """Take the next packets, as PyAV reads them."""
        # A pass for each column: comprehensions over thousands of packets are the fastest loops that Python has.
        self._times += [packet.pts for packet in packets]
        self._keyframe += [packet.is_keyframe for packet in packets]
        if self._codec in BY_TIME:
            self._shown += [not packet.is_discard for packet in packets]
        else:
            self._shown += [self._frames_shown(packet) for packet in packets]
        if self._numbers is not None:
            self._numbers.extend(packets)
        if self._may_be_joined:
            self._lacking += [packet.is_corrupt for packet in packets]
            self._decoding_times += [packet.dts for packet in packets]

    def _frames_shown(self, packet: Any) -> int | None:
        """Return 0, 1, or None where only decoding can tell."""
        return not packet.is_discard and frames_shown(self._codec, bytes(packet))

    def cut_at_joints(self) -> frozenset[int]:
        """Return the packets that count as incomplete only because another file begins behind them.

        A transport stream numbers its parts. Where two files are joined the numbers do not go on, as if a part were
        lost, and FFmpeg marks the last packet of the first file, or the one before it. Whether anything is lost, the
        decoder tells. A new file shows by its first picture: it is a key frame, or its time does not go on.
        """
        found = set[int]()
        for number, is_lacking in enumerate(self._lacking):
            if not is_lacking:
                continue
            if self._begins(number + 1) or self._begins(number + 2):
                found.add(number)
        return frozenset(found)

    def _begins(self, number: int) -> bool:
        """Tell whether this packet may be the first of a file."""
        if number >= len(self):
            return False
        before = self._decoding_times[number - 1]
        now = self._decoding_times[number]
        return (
            self._keyframe[number] or before is None or now is None or now <= before
        )

    @cached_property
    def stamps(self) -> Int64[np.ndarray, " p"]:
        """Return presentation times in ticks of the stream; ``UNKNOWN`` where there is none."""
        return stamps_of(self._times)

    def table(self) -> PacketTable:
        """Return the table that plans are made of.

        Where the codec shows pictures as they are stored, the time of a packet is its number.
        """
        time = self.stamps if self._codec in BY_TIME else np.arange(len(self))
        keyframe = np.array(self._keyframe, bool)
        # Not ``bool``: None, where only decoding can tell, is not shown either.
        return PacketTable(time, keyframe, np.array(self._shown) == 1)

    def order(
        self, table: PacketTable, *, stores_times: bool
    ) -> tuple[Int64[np.ndarray, " t"] | None, bool]:
        """Return the packet of each frame by rank, and whether the times contradict the order of the pictures.

        The order is None where only decoding can tell: where times are wrong, or the beginning of a picture is
        damaged.

        Args:
            table: of these packets.
            stores_times: whether the container does; else times of pictures that are reordered were made up.
        """
        if self._codec in BY_PACKET:
            return None if None in self._shown else presentation(table), False
        if self._codec not in BY_TIME or not stores_times:
            return None, False
        by_time = presentation(table)
        if self._numbers is None:
            return by_time, False
        by_number = self._numbers.order()
        if by_time is None or by_number is None:
            # Slices do not tell the order. Times are distrusted all the same where a packet does not begin a picture:
            # its beginning is damaged, or it holds a part of one.
            return None, by_time is not None and not self._numbers.begin_pictures()
        if not np.array_equal(by_time, by_number[table.shown[by_number]]):
            return None, True
        self._remember()
        return by_time, False

    def _remember(self) -> None:
        """Note that the times of this video are right."""
        if len(IN_ORDER) >= _REMEMBERED:
            IN_ORDER.clear()
        if self._identity is not None:
            IN_ORDER.add(self._identity)


def stamps_of(times: Sequence[int | None]) -> Int64[np.ndarray, " n"]:
    """Return times as an array, ``UNKNOWN`` for None."""
    return np.array([UNKNOWN if time is None else time for time in times], np.int64)
