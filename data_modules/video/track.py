"""Decode the video track of an open file: its packets are read once, and only those that are needed are decoded.

With ``demux.py``, ``picture.py`` and ``encode.py`` the only file that imports av.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Literal

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64

from data_modules.video.demux import PacketReader, main_track, stated_end
from data_modules.video.headers import orientation
from data_modules.video.headers.container import may_be_turned
from data_modules.video.packets import IN_ORDER, Packets, stamps_of
from data_modules.video.plan import UNKNOWN, segments
from data_modules.video.source import Source
from data_modules.video.timing import growing_seconds, last_end, mean_rate

_TIMED = frozenset({"mp4", "matroska", "mpegts", "mpeg", "flv", "asf"})
# Streams that are joined by writing one file behind the other.
_JOINED = frozenset({"mpegts", "mpeg"})
# Of pictures that had to be decoded to be counted; a pixel takes a byte and a half.
_KEPT_PIXELS = 64 << 20
_NOWHERE = sys.maxsize  # no decoding goes on


class OutOfOrder(ValueError):
    """Report that pictures did not come out of the decoder in the order of their times.

    From then on a track takes them as they come, so a second call gives the right ones.
    """


class FileTrack:
    """Give the pictures of a file by rank in presentation order.

    Where the packets tell that order, only those are decoded that the wanted pictures need. Where their times
    contradict it, all are decoded up to the last one that is wanted. Else all of them are, and to count is to decode.

    Args:
        container: open.
        source: what it was opened from.
        sequential: decode every picture up to the last one that is wanted, and take them in the order in which they
            come out of the decoder.

    Attributes:
        note: what is odd about a file that can be read, one sentence without a point; empty where nothing is.

    Raises:
        ValueError: without a video track, or a decoder for it.
    """

    def __init__(
        self, container: InputContainer, source: Source, *, sequential: bool
    ) -> None:
        self._container = container
        self._source = source
        self._sequential = sequential
        self._stream = _film(container, source)
        self._formats = frozenset(container.format.name.split(","))
        self._verified = source.verified == container.size
        for stream in container.streams:
            stream.discard = (
                Discard.default if stream is self._stream else Discard.all
            )
        self._context = _decoder(self._stream, source)
        self._skip: Literal["DEFAULT", "NONREF"] = "DEFAULT"
        self.codec = self._context.codec.canonical_name
        self._extradata = bytes(self._context.extradata or b"")
        self.pixel_ratio = float(self._stream.sample_aspect_ratio or 1)
        self._kept: list[VideoFrame] | None = None
        # A decoding in order that goes on, and the rank of its next picture.
        self._ahead: Iterator[VideoFrame] = iter(())
        self._next_rank = _NOWHERE
        # The packet of each frame by rank, where decoding can be planned.
        self._order: Int64[np.ndarray, " t"] | None = None
        # Ticks of the frames by rank, where packets tell them.
        self._times: Int64[np.ndarray, " t"] | None = None
        self.note = ""
        self._read()

    def _read(self) -> None:
        """Read the packets, in the one pass over the file."""
        self._packets = PacketReader(self._container, self._stream)
        unknown = (
            self._source if self._stores_times and not self._verified else None
        )
        found = Packets(
            self.codec, self._extradata, unknown, may_be_joined=self._may_be_joined
        )
        for some in self._packets.read():
            found.extend(some)
        self._count = len(found)
        if not self._count:
            raise ValueError(f"{self._source}: holds no frame that decodes")
        self._stamps = found.stamps
        self._table = found.table()
        self._cut = found.cut_at_joints()
        order, wrong = found.order(self._table, stores_times=self._stores_times)
        if wrong:
            self._distrust()
        elif order is not None:
            self._times = self._stamps[order]
            self._order = None if self._sequential else order
            rank = np.full(self._count, -1)
            rank[order] = np.arange(len(order))
            # A list, because ``_fed`` reads one number a packet, which NumPy does slowly.
            self._rank: list[int] = rank.tolist()

    def _distrust(self) -> None:
        """Take pictures as they come out of the decoder, the first one at the first time."""
        IN_ORDER.discard(self._source.identity())
        self._order = None
        self._times = np.sort(self._stamps[self._table.shown])
        self.note = "its presentation times contradict the order of its pictures, which are taken as they decode"

    @property
    def _stores_times(self) -> bool:
        """Tell whether times were stored; other containers make them up from the order of their packets."""
        return bool(self._formats & _TIMED) or not self._context.has_b_frames

    @property
    def _may_be_joined(self) -> bool:
        return bool(self._formats & _JOINED)

    @property
    def _tick(self) -> float:
        """Return the unit of times, seconds."""
        return float(self._stream.time_base or 1)

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Return height and width of the pictures, pixels; None where the first one must tell them or its rotation."""
        height = self._context.height
        width = self._context.width
        if not height or not width or self._may_be_turned:
            return None
        return height, width

    @property
    def _may_be_turned(self) -> bool:
        if self._verified:
            return False
        formats = self._container.format.name
        if may_be_turned(formats, self._source.path, self._source.start):
            return True
        first = self._packets.first
        return orientation.may_be_turned(self.codec, self._extradata, first)

    @property
    def keyframes(self) -> int:
        """Return the number of shown pictures at which decoding can start."""
        return int((self._table.keyframe & self._table.shown).sum())

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """Return the presentation time of each picture from the first, seconds.

        Where the file's times do not grow, they are made of ranks and the rate.
        """
        count, seconds = self._clock
        return np.arange(count) / self.fps if seconds is None else seconds

    @cached_property
    def _clock(self) -> tuple[int, Float64[np.ndarray, " t"] | None]:
        """Return how many frames there are, and their times from the first, seconds, where they grow."""
        ticks = self._times
        if ticks is None:
            ticks = stamps_of([frame.pts for frame in self._every()])
        seconds = growing_seconds(
            ticks, self._tick, may_be_joined=self._may_be_joined
        )
        return len(ticks), seconds

    @cached_property
    def fps(self) -> float:
        """Return mean frames a second: by the header, unless times put it more than two frames wrong.

        Raises:
            ValueError: neither the header nor the times tell.
        """
        stated = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        rate = mean_rate(stated, *self._clock)
        if not rate:
            raise ValueError(f"{self._source}: states no frame rate")
        return rate

    def pictures(self, ranks: frozenset[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the pictures at ``ranks``, in any order, each with its rank; one that does not exist is left out.

        Raises:
            OutOfOrder: the times turn out to be wrong; a second call gives other pictures.
            ValueError: damaged data on the way to a wanted picture.
        """
        if self._order is None:
            return self._in_order(ranks)
        packet_of: dict[int, int] = {}
        for rank in ranks:
            if rank < len(self._order):
                packet_of[rank] = int(self._order[rank])
        return self._planned(packet_of)

    def _in_order(self, ranks: frozenset[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield pictures as the decoder gives them; go on where an earlier call stopped, if that was not later."""
        if self._kept is not None:
            for rank, frame in enumerate(self._kept):
                if rank in ranks:
                    yield rank, frame
            return
        if min(ranks) < self._next_rank:
            self._ahead = self._decoded(range(self._count))
            self._next_rank = 0
        last = max(ranks)
        rank = self._next_rank
        while rank <= last:
            # Where the next picture is damaged, a later call has nowhere to go on.
            self._next_rank = _NOWHERE
            frame = next(self._ahead, None)
            if frame is None:
                return
            self._next_rank = rank + 1
            if rank in ranks:
                yield rank, frame
            rank += 1

    def _every(self) -> Iterator[VideoFrame]:
        """Yield all pictures where packets do not tell their order.

        There to count is to decode, so small pictures are kept for those who ask next.
        """
        self._next_rank = _NOWHERE
        pixels = self._count * self._context.width * self._context.height
        if pixels > _KEPT_PIXELS:
            return self._decoded(range(self._count))
        if self._kept is None:
            self._kept = list(self._decoded(range(self._count)))
        return iter(self._kept)

    def check(self) -> None:
        """Decode everything once, in order.

        Raises:
            ValueError: damaged, cut short, or with other pictures than its packets promise.
        """
        known = self._stamps[self._stamps != UNKNOWN]
        first = int(known.min()) if len(known) else None
        promised = stated_end(self._container, self._stream, first)
        end = last_end(self._stamps, self._packets.durations(), self._tick)
        if end < promised - 2 / self.fps:
            raise ValueError(
                f"{self._source}: cut short: {end:.2f} s "
                f"are there of {promised:.2f} s by its header"
            )
        with suppress(OutOfOrder):
            self._check_count()
            return
        # Now pictures are taken as they come, which changes how many are promised.
        self._check_count()

    def _check_count(self) -> None:
        self._next_rank = _NOWHERE
        count = sum(1 for _ in self._decoded(range(self._count)))
        if self._times is not None and count != len(self._times):
            raise ValueError(
                f"{self._source}: {len(self._times)} frames are stored, {count} decode"
            )

    def _planned(
        self, packet_of: dict[int, int]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the pictures of these packets by a plan; those that it fails to give by decoding from the beginning."""
        try:
            yield from self._ranked(packet_of, self._needed(packet_of))
        except OutOfOrder:
            raise
        except ValueError:
            pass
        # The file is damaged, or a key frame does not hold all that follows, as in rolling intra refresh.
        if packet_of:
            last = max(packet_of.values())
            yield from self._ranked(packet_of, self._decoded(range(last + 1)))

    def _ranked(
        self, packet_of: dict[int, int], frames: Iterator[VideoFrame]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the pictures that are wanted, and remove them from what is wanted."""
        for frame in frames:
            if frame.pts in packet_of:
                del packet_of[frame.pts]
                yield frame.pts, frame

    def _needed(self, packet_of: dict[int, int]) -> Iterator[VideoFrame]:
        if not packet_of:
            return
        wanted = frozenset(packet_of.values())
        fed = segments(self._table, wanted)
        if self.codec == "mpeg4" and fed[0][0] > 0:
            # The first packet may name an encoder, whose known errors the decoder then mends.
            list(self._decoded(range(1)))
        for segment in fed:
            yield from self._decoded(segment.tolist(), wanted)

    def _decoded(
        self, numbers: Sequence[int], wanted: frozenset[int] | None = None
    ) -> Iterator[VideoFrame]:
        """Yield the pictures of the packets ``numbers``, without those that are neither wanted nor referred to.

        Raises:
            OutOfOrder: they do not come in the order of their ranks.
        """
        last = -1
        for frame in self._fed(numbers, wanted):
            if self._order is not None and frame.pts is not None:
                if frame.pts <= last:
                    self._distrust()
                    raise OutOfOrder(f"{self._source}: {self.note}")
                last = frame.pts
            yield frame

    def _fed(
        self, numbers: Sequence[int], wanted: frozenset[int] | None
    ) -> Iterator[VideoFrame]:
        self._context.flush_buffers()  # an earlier pass may have stopped anywhere
        packets = self._packets.numbered(numbers)
        for number, packet in zip(numbers, packets, strict=False):
            skip = "DEFAULT" if wanted is None or number in wanted else "NONREF"
            if skip != self._skip:  # to set it costs more than to compare
                self._skip = self._context.skip_frame = skip
            if self._order is not None:
                # Decoders hand the time of a packet on to its picture, so it carries the rank.
                packet.pts = self._rank[number]
            yield from self._decode(packet, number)
        yield from self._decode(None, self._count)

    def _decode(self, packet: Packet | None, number: int) -> list[VideoFrame]:
        """Return the pictures that the decoder gives for one packet; for None those that it held back."""
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            raise self._damaged(number, error.strerror) from error
        lacking = (
            packet is not None and packet.is_corrupt and number not in self._cut
        )
        if lacking or any(frame.is_corrupt for frame in frames):
            raise self._damaged(number, "a part of it is missing")
        return frames

    def _damaged(self, number: int, reason: str | None) -> ValueError:
        return ValueError(
            f"{self._source}: damaged at packet {number} of {self._count}: {reason}"
        )


def _film(container: InputContainer, source: Source) -> VideoStream:
    """Return the main video track.

    Raises:
        ValueError: there is none.
    """
    track = main_track(container)
    if track is None:
        pictures = container.streams.video
        beside = ", only a cover picture or thumbnails" if pictures else ""
        raise ValueError(f"{source}: holds no video track{beside}")
    return track


def _decoder(track: VideoStream, source: Source) -> VideoCodecContext:
    """Open the decoder of a track.

    Raises:
        ValueError: this FFmpeg has none for it.
    """
    context = track.codec_context
    if not context:
        raise ValueError(
            f"{source}: this FFmpeg has no decoder for its video track"
        )
    context.thread_count = (
        1  # clips are read in parallel, frames of one clip are not
    )
    # Damage is an error then, and no picture of it.
    context.options = {"err_detect": "explode"}
    # Before packets are skipped: dav1d keeps what it is told to skip at first.
    context.open(strict=False)
    return context
