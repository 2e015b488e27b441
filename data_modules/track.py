"""The video track of an open file: its packets are read once, and only those that are needed are decoded.

With ``decode.py`` and ``encode.py`` the only file that imports av.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import dropwhile, islice

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64

from data_modules.bitstream import frames_shown
from data_modules.plan import UNKNOWN, PacketTable, Segment, presentation, segments

_BY_TIME = frozenset({"h264", "hevc"})  # pictures are shown in the order of their time stamps
_BY_PACKET = frozenset({"vp8", "vp9", "av1", "mjpeg", "mpeg4"})  # and here in the order of their packets
_KEPT_BYTES = 128 << 20  # of packets; those of a longer video are read again from the key frames on


class FileTrack:
    """Pictures of a file by rank in presentation order.

    Where the packets tell that order, only those are decoded that the wanted pictures need. Else all of them are, and
    to count is to decode.

    Args:
        container: open.
        name: of the file, for errors.
        sequential: decode every picture up to the last one that is wanted.

    Raises:
        ValueError: without a video track.
    """

    def __init__(self, container: InputContainer, name: str, *, sequential: bool) -> None:
        if not container.streams.video:
            raise ValueError(f"{name}: holds no video track")
        self._container, self._name, self._sequential = container, name, sequential
        self._stream: VideoStream = container.streams.video[0]
        for stream in container.streams:
            stream.discard = Discard.default if stream is self._stream else Discard.all
        self._context = self._stream.codec_context
        self._context.thread_count = 1
        self._context.options = {"err_detect": "explode"}  # damage is an error, not a picture of it
        self.codec = self._context.codec.canonical_name
        self.pixel_ratio = float(self._stream.sample_aspect_ratio or 1)
        self._read()

    def _read(self) -> None:
        """The one pass over the file."""
        self._packets, size = list[Packet](), 0
        self._keys, keyframe, shown = list[tuple[int | None, ...]](), list[bool](), list[int | None]()
        for packet in self._demux():
            self._keys.append((packet.pts, packet.dts, packet.pos))
            keyframe.append(packet.is_keyframe)
            peek = b"" if self.codec in _BY_TIME else bytes(packet)
            shown.append(0 if packet.is_discard else frames_shown(self.codec, peek))
            size += packet.size
            if size <= _KEPT_BYTES:
                self._packets.append(packet)
        if size > _KEPT_BYTES:
            self._packets.clear()
        time = self._stamps if self.codec in _BY_TIME else np.arange(len(shown))
        self._table = PacketTable(time, np.array(keyframe, bool), np.array(shown) == 1)
        known = self.codec in _BY_TIME | _BY_PACKET and None not in shown
        self._order = presentation(self._table) if known else None
        self._rank = np.full(len(shown), -1)
        if self._order is not None:
            self._rank[self._order] = np.arange(len(self._order))

    @cached_property
    def _stamps(self) -> Int64[np.ndarray, " p"]:
        stamps = [pts if pts is not None else UNKNOWN for pts, _, _ in self._keys]
        return np.array(stamps, np.int64)

    def _demux(self) -> Iterator[Packet]:
        return (packet for packet in self._container.demux(self._stream) if packet.size)

    @property
    def keyframes(self) -> int:
        """Shown pictures at which decoding can start."""
        return int((self._table.keyframe & self._table.shown).sum())

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """Presentation time of each picture, from the first; by rank and rate where the file's times do not grow."""
        if self._order is None:
            stamps = [frame.pts for frame in self._decoded(Segment(0, len(self._keys)))]
        else:
            stamps = [self._keys[packet][0] for packet in self._order.tolist()]
        known = np.array([UNKNOWN if stamp is None else stamp for stamp in stamps], np.int64)
        if UNKNOWN in known or (np.diff(known) <= 0).any():
            return np.arange(len(known)) / self.fps
        return (known - known[:1]) * float(self._stream.time_base or 1)

    @cached_property
    def fps(self) -> float:
        """Mean frames a second by the header."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate:
            raise ValueError(f"{self._name}: states no frame rate")
        return float(rate)

    def pictures(self, ranks: frozenset[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Those at ``ranks``, in any order; one that does not decode is left out.

        Raises:
            ValueError: damaged data on the way to a wanted picture.
        """
        if self._order is None:
            numbered = enumerate(self._decoded(Segment(0, len(self._keys))))
        else:
            stored = sorted(rank for rank in ranks if rank < len(self._order))
            numbered = ((frame.pts or 0, frame) for frame in self._planned(self._order[stored]))
        return ((rank, frame) for rank, frame in numbered if rank in ranks)

    def check(self) -> None:
        """Decode everything once, in order.

        Raises:
            ValueError: damaged, or with other pictures than its packets promise.
        """
        count = sum(1 for _ in self._decoded(Segment(0, len(self._keys))))
        if self._order is not None and count != len(self._order):
            raise ValueError(f"{self._name}: {len(self._order)} frames are stored and {count} of them decode")

    def _planned(self, targets: Int64[np.ndarray, " t"]) -> Iterator[VideoFrame]:
        wanted = frozenset[int](targets.tolist())
        if not wanted:
            return
        if self._sequential:
            yield from self._decoded(Segment(0, max(wanted) + 1))
            return
        fed = segments(self._table, wanted)
        if self.codec == "mpeg4" and fed[0].start:  # the first packet may name an encoder whose errors are mended
            list(self._decoded(Segment(0, 1)))
        for segment in fed:
            yield from self._decoded(segment, wanted)

    def _decoded(self, segment: Segment, wanted: frozenset[int] | None = None) -> Iterator[VideoFrame]:
        """The pictures of ``segment``, without those that are neither wanted nor referred to."""
        self._context.flush_buffers()  # an earlier pass may have stopped anywhere
        for number, packet in enumerate(self._between(segment), segment.start):
            self._context.skip_frame = "DEFAULT" if wanted is None or number in wanted else "NONREF"
            if self._order is not None:
                packet.pts = int(self._rank[number])  # decoders hand it on
            yield from self._decode(packet, number)
        yield from self._decode(None, segment.stop - 1)

    def _decode(self, packet: Packet | None, number: int) -> list[VideoFrame]:
        damaged = f"{self._name}: damaged at packet {number} of {len(self._keys)}"
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            raise ValueError(f"{damaged}: {error.strerror}") from error
        if (packet and packet.is_corrupt) or any(frame.is_corrupt for frame in frames):
            raise ValueError(f"{damaged}: a part of it is missing")
        return frames

    def _between(self, segment: Segment) -> Iterator[Packet]:
        if self._packets:
            return iter(self._packets[segment.start : segment.stop])
        return self._read_again(segment)

    def _read_again(self, segment: Segment) -> Iterator[Packet]:
        """From the file: at the key frame if its index leads there, else from the beginning."""
        first = self._keys[segment.start]
        for _, dts, _ in (first, self._keys[0]):
            self._container.seek(dts or 0, stream=self._stream)
            packets = dropwhile(lambda packet: (packet.pts, packet.dts, packet.pos) != first, self._demux())
            found = next(packets, None)
            if found is not None:
                yield found
                yield from islice(packets, segment.stop - segment.start - 1)
                return
