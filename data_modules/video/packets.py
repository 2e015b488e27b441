"""What the packets of a video track say, collected in one pass over the file."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64

from data_modules.video.headers.bitstream import frames_shown
from data_modules.video.headers.picture_order import PictureOrder
from data_modules.video.plan import UNKNOWN, PacketTable, presentation
from data_modules.video.source import Source

BY_TIME = frozenset(
    {"h264", "hevc"}
)  # pictures are shown in the order of their time stamps
BY_PACKET = frozenset(
    {"vp8", "vp9", "av1", "mjpeg", "mpeg4"}
)  # and here in the order of their packets
IN_ORDER = set[
    int
]()  # videos whose times this process found right: each is read in every epoch
_REMEMBERED = 1 << 18  # videos; a number takes about 100 bytes


class Packets:
    """Columns of a table with a row for each packet, in decoding order.

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
        self._codec, self._may_be_joined = codec, may_be_joined
        self._lacking, self._decoding_times = list[bool](), list[int | None]()
        self._times, self._keyframe, self._shown = (
            list[int | None](),
            list[bool](),
            list[int | None](),
        )
        self._identity = source.identity() if source and codec in BY_TIME else None
        unknown = self._identity is not None and self._identity not in IN_ORDER
        self._numbers = PictureOrder(codec, extradata) if unknown else None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._times)

    def extend(self, packets: Sequence[Any]) -> None:
        """Take the next packets, as PyAV reads them."""
        self._times += [packet.pts for packet in packets]
        self._keyframe += [packet.is_keyframe for packet in packets]
        if self._codec in BY_TIME:
            self._shown += [not packet.is_discard for packet in packets]
        else:
            self._shown += [
                not packet.is_discard and frames_shown(self._codec, bytes(packet))
                for packet in packets
            ]
        if self._numbers is not None:
            self._numbers.extend(packets)
        if self._may_be_joined:
            self._lacking += [packet.is_corrupt for packet in packets]
            self._decoding_times += [packet.dts for packet in packets]

    def cut_at_joints(self) -> frozenset[int]:
        """The packets that count as incomplete only because another file begins behind them.

        A transport stream numbers its parts. Where two files are joined the numbers do not go on, as if a part were
        lost, and FFmpeg marks the last packet of the first file, or the one before it. Whether anything is lost, the
        decoder tells. A new file shows by its first picture: it is a key frame, or its time does not go on.
        """
        lacking = [
            number for number, is_lacking in enumerate(self._lacking) if is_lacking
        ]
        return frozenset(
            number
            for number in lacking
            if any(map(self._begins, (number + 1, number + 2)))
        )

    def _begins(self, number: int) -> bool:
        """Whether this packet may be the first of a file."""
        if number >= len(self):
            return False
        before, now = self._decoding_times[number - 1], self._decoding_times[number]
        return self._keyframe[number] or before is None or now is None or now <= before

    @cached_property
    def stamps(self) -> Int64[np.ndarray, " p"]:
        """Presentation times; ``UNKNOWN`` where there is none."""
        return np.array(
            [UNKNOWN if time is None else time for time in self._times], np.int64
        )

    def table(self) -> PacketTable:
        """In which the time of a packet is its number where the codec shows pictures as they are stored."""
        time = self.stamps if self._codec in BY_TIME else np.arange(len(self))
        return PacketTable(
            time, np.array(self._keyframe, bool), np.array(self._shown) == 1
        )

    def order(
        self, table: PacketTable, *, stores_times: bool
    ) -> tuple[Int64[np.ndarray, " t"] | None, bool]:
        """The packet of each frame by rank, None where only decoding can tell; and whether each packet still is one.

        So it is where times are wrong, or the beginning of a picture is damaged.

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
