"""The video track of an open file: its packets are read once, and only those that are needed are decoded.

With ``decode.py`` and ``encode.py`` the only file that imports av.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import dropwhile, islice
from operator import attrgetter
from typing import Literal, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64

from data_modules.video.headers import orientation
from data_modules.video.headers.container import may_be_turned, stated_duration
from data_modules.video.headers.parameter_set import parameter_set
from data_modules.video.packets import IN_ORDER, Packets
from data_modules.video.plan import UNKNOWN, continued, segments
from data_modules.video.source import Source

_TIMED = frozenset({"mp4", "matroska", "mpegts", "mpeg", "flv", "asf"})
_WITH_HEADER = frozenset({"mp4", "matroska"})
_TOLD_BY_CONTAINER = frozenset({"vp8", "vp9", "av1"})
_HEADER_ALONE = {
    "codec_whitelist": "none",
    "probesize": "32",
    "analyzeduration": "1",
    "fflags": "noparse",
}
_PICTURE = int(
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
)
_IMAGE_CODECS = frozenset(
    {"mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "jpegls"}
)
_BY_DEFAULT = (
    5_000_000  # pixels that the flag "default" outweighs, as in the ffmpeg program
)
_JOINED = frozenset(
    {"mpegts", "mpeg"}
)  # streams that are joined by writing one file behind the other
_LONGEST_STEP = 10  # seconds between frames of one stream, as in the ffmpeg program
_KEPT_PIXELS = (
    64 << 20
)  # of pictures that had to be decoded to be counted; a pixel takes a byte and a half
_AT_A_TIME = 4096  # packets
_NOWHERE = sys.maxsize  # no decoding goes on
_KEPT_BYTES = (
    128 << 20
)  # of packets; those of a longer video are read again from the key frames on
_Key: TypeAlias = tuple[
    int | None, int | None, int | None
]  # names a packet: pts, dts, position


def opened(source: Source) -> InputContainer:
    """The container of a file, which the caller closes.

    To learn what a header may leave open FFmpeg decodes pictures and sound, for as long as a tenth of a clip takes.
    Where the header leaves nothing open, nothing is decoded, and no packet is looked into to find what it tells.
    """
    container = av.open(
        source.url, metadata_errors="ignore", options=_HEADER_ALONE
    )  # titles in any encoding
    if _tells_all(container):
        return container
    container.close()
    return av.open(source.url, metadata_errors="ignore")


def film(container: InputContainer) -> VideoStream | None:
    """The video track that is the film; None where there is none.

    Covers, thumbnails and other pictures are never the film. Of the other tracks the choice is that of the ffmpeg
    program: the largest one, where a flag "default" outweighs five million pixels; the first one of equals.
    """
    tracks = [
        track
        for track in container.streams.video
        if not int(track.disposition) & _PICTURE
    ]
    moving = [
        track
        for track in tracks
        if track.frames != 1 and _codec(track) not in _IMAGE_CODECS
    ]
    return (
        tracks[0]
        if len(tracks) == 1
        else max(moving or tracks, key=_weight, default=None)
    )


def _codec(track: VideoStream) -> str:
    """Of the track; empty where this FFmpeg has no decoder for it."""
    context = track.codec_context
    return context.codec.canonical_name if context else ""  # pyright: ignore[reportUnnecessaryComparison]


def _weight(track: VideoStream) -> int:
    context = track.codec_context
    area = context.height * context.width if context else 0  # pyright: ignore[reportUnnecessaryComparison]
    return area + _BY_DEFAULT * bool(track.disposition & Disposition.default)


def _tells_all(container: InputContainer) -> bool:
    """Whether the header states rate, size, pixel ratio and order of pictures, or the codec leaves no choice."""
    stream = film(container)
    if (
        stream is None
        or not stream.average_rate
        or not _WITH_HEADER & set(container.format.name.split(","))
    ):
        return False
    if _codec(stream) != "h264":
        return _codec(stream) in _TOLD_BY_CONTAINER
    context = stream.codec_context
    stated = parameter_set(bytes(context.extradata or b""))
    if (
        stated is None
        or stated.reorder is None
        or (stated.height, stated.width) != (context.height, context.width)
    ):
        return False
    return stream.sample_aspect_ratio is not None or stated.pixel_ratio in (
        (0, 0),
        (1, 1),
    )


class OutOfOrder(ValueError):
    """Pictures did not come out of the decoder in the order of their times; from now on they are taken as they come."""


class FileTrack:
    """Pictures of a file by rank in presentation order.

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
        track = film(container)
        if track is None:
            beside = (
                ", only a cover picture or thumbnails"
                if container.streams.video
                else ""
            )
            raise ValueError(f"{source}: holds no video track{beside}")
        self._container, self._source, self._sequential = container, source, sequential
        self._stream, self._names = track, frozenset(container.format.name.split(","))
        self._verified = source.verified == container.size
        for stream in container.streams:
            stream.discard = Discard.default if stream is self._stream else Discard.all
        self._context = self._stream.codec_context
        if not self._context:
            raise ValueError(
                f"{source}: this FFmpeg has no decoder for its video track"
            )
        self._context.thread_count = 1
        self._context.options = {
            "err_detect": "explode"
        }  # damage is an error, not a picture of it
        self._context.open(
            strict=False
        )  # before packets are skipped: dav1d keeps what it is told to skip at first
        self._skip: Literal["DEFAULT", "NONREF"] = "DEFAULT"
        self.codec = self._context.codec.canonical_name
        self._extradata = bytes(self._context.extradata or b"")
        self.pixel_ratio = float(self._stream.sample_aspect_ratio or 1)
        self._kept: list[VideoFrame] | None = None
        self._ahead: Iterator[VideoFrame] = iter(
            ()
        )  # of a decoding in order, with the rank of the next picture
        self._next_rank = _NOWHERE
        self._order: Int64[np.ndarray, " t"] | None = (
            None  # the packet of each frame by rank, where it can be planned
        )
        self._times: Int64[np.ndarray, " t"] | None = (
            None  # of the frames by rank, where packets tell them
        )
        self.note = ""
        self._read()

    def _read(self) -> None:
        """The one pass over the file."""
        self._packets, self._keys, self._first = list[Packet](), list[_Key](), b""
        unknown = self._source if self._stores_times and not self._verified else None
        found = Packets(
            self.codec,
            self._extradata,
            unknown,
            may_be_joined=bool(self._names & _JOINED),
        )
        kept, packets = self._container.size <= _KEPT_BYTES, self._demux()
        while some := list(islice(packets, _AT_A_TIME)):
            self._first = self._first or bytes(some[0])
            found.extend(some)
            if kept:
                self._packets += some
            else:
                self._keys += [(packet.pts, packet.dts, packet.pos) for packet in some]
        self._count = len(found)
        if not self._count:
            raise ValueError(f"{self._source}: holds no frame that decodes")
        self._stamps, self._table, self._cut = (
            found.stamps,
            found.table(),
            found.cut_at_joints(),
        )
        order, wrong = found.order(self._table, stores_times=self._stores_times)
        if wrong:
            self._distrust()
        elif order is not None:
            self._times = self._stamps[order]
            self._order = None if self._sequential else order
            rank = np.full(self._count, -1)
            rank[order] = np.arange(len(order))
            self._rank: list[int] = rank.tolist()

    def _distrust(self) -> None:
        """Take pictures as they come out of the decoder, the first one at the first time."""
        IN_ORDER.discard(self._source.identity())
        self._order, self._times = None, np.sort(self._stamps[self._table.shown])
        self.note = "its presentation times contradict the order of its pictures, which are taken as they decode"

    @property
    def _stores_times(self) -> bool:
        """Other containers make presentation times up from the order of their packets."""
        return bool(self._names & _TIMED) or not self._context.has_b_frames

    def _demux(self) -> Iterator[Packet]:
        return filter(attrgetter("size"), self._container.demux(self._stream))

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the pictures, pixels; None where the first one must tell them or how it is turned."""
        height, width = self._context.height, self._context.width
        turned = not self._verified and (
            may_be_turned(
                self._container.format.name, self._source.path, self._source.start
            )
            or orientation.may_be_turned(self.codec, self._extradata, self._first)
        )
        return None if turned or not height or not width else (height, width)

    @property
    def keyframes(self) -> int:
        """Shown pictures at which decoding can start."""
        return int((self._table.keyframe & self._table.shown).sum())

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """Presentation time of each picture, from the first; by rank and rate where the file's times do not grow."""
        count, clock = self._clock
        return np.arange(count) / self.fps if clock is None else clock

    @cached_property
    def _clock(self) -> tuple[int, Float64[np.ndarray, " t"] | None]:
        """How many frames there are, and their times from the first, seconds, where they grow."""
        known = self._times
        if known is None:
            stamps = [frame.pts for frame in self._every()]
            known = np.array(
                [UNKNOWN if stamp is None else stamp for stamp in stamps], np.int64
            )
        if UNKNOWN in known:
            return len(known), None
        tick = float(self._stream.time_base or 1)
        if self._names & _JOINED:
            known = continued(known, round(_LONGEST_STEP / tick))
        return len(known), None if (np.diff(known) <= 0).any() else (
            known - known[:1]
        ) * tick

    @cached_property
    def fps(self) -> float:
        """Mean frames a second: by the header, unless times put it more than two frames wrong."""
        stated = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        count, clock = self._clock
        if clock is not None and count > 1 and abs(clock[-1] * stated - count + 1) > 2:
            return (count - 1) / float(clock[-1])
        if not stated:
            raise ValueError(f"{self._source}: states no frame rate")
        return stated

    def pictures(self, ranks: frozenset[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Those at ``ranks``, in any order; one that does not exist is left out.

        Raises:
            OutOfOrder: the times turn out to be wrong; a second call gives other pictures.
            ValueError: damaged data on the way to a wanted picture.
        """
        if self._order is None:
            return self._in_order(ranks)
        packet_of = {
            rank: int(self._order[rank]) for rank in ranks if rank < len(self._order)
        }
        return self._planned(packet_of)

    def _in_order(self, ranks: frozenset[int]) -> Iterator[tuple[int, VideoFrame]]:
        """As the decoder gives them; decoding goes on where an earlier call stopped, if that was not later."""
        if self._kept is not None:
            yield from (
                (rank, frame) for rank, frame in enumerate(self._kept) if rank in ranks
            )
            return
        if min(ranks) < self._next_rank:
            self._ahead, self._next_rank = self._decoded(range(self._count)), 0
        last = max(ranks)
        rank = self._next_rank
        while rank <= last:
            self._next_rank = _NOWHERE  # where the next picture is damaged
            frame = next(self._ahead, None)
            if frame is None:
                return
            self._next_rank = rank + 1
            if rank in ranks:
                yield rank, frame
            rank += 1

    def _every(self) -> Iterator[VideoFrame]:
        """All pictures where packets do not tell their order: to count is to decode, so small ones are kept."""
        self._next_rank = _NOWHERE
        if self._count * self._context.width * self._context.height > _KEPT_PIXELS:
            return self._decoded(range(self._count))
        if self._kept is None:
            self._kept = list(self._decoded(range(self._count)))
        return iter(self._kept)

    def check(self) -> None:
        """Decode everything once, in order.

        Raises:
            ValueError: damaged, cut short, or with other pictures than its packets promise.
        """
        promised, end = self._promised, self._end
        if end < promised - 2 / self.fps:
            raise ValueError(
                f"{self._source}: cut short: {end:.2f} s are there of {promised:.2f} s by its header"
            )
        with suppress(OutOfOrder):
            self._check_count()
            return
        self._check_count()

    def _check_count(self) -> None:
        self._next_rank = _NOWHERE
        count = sum(1 for _ in self._decoded(range(self._count)))
        if self._times is not None and count != len(self._times):
            raise ValueError(
                f"{self._source}: {len(self._times)} frames are stored, {count} decode"
            )

    @property
    def _promised(self) -> float:
        """When the last picture ends by the header, seconds; 0 where it does not say so of the video track."""
        if (
            "matroska" in self._names
        ):  # counts from 0 or from the first picture: the earlier end holds
            return stated_duration(self._stream.metadata) or self._length_of_all
        if self._stream.duration:
            first = min(
                (stamp for stamp in self._stamps.tolist() if stamp != UNKNOWN),
                default=0,
            )
            return float(first + self._stream.duration) * float(
                self._stream.time_base or 0
            )
        start = (self._container.start_time or 0) / 1e6
        return start + self._length_of_all if self._length_of_all else 0.0

    @property
    def _length_of_all(self) -> float:
        """What the header says of all tracks, seconds; 0 where there are others."""
        alone = len(self._container.streams) == 1
        return (self._container.duration or 0) / 1e6 if alone else 0.0

    @property
    def _end(self) -> float:
        """When the last picture ends by its packet, seconds; infinite where packets do not tell."""
        timed = zip(
            self._stamps.tolist(), self._packets, strict=False
        )  # packets of a long video are not kept
        ends = [pts + (packet.duration or 0) for pts, packet in timed if pts != UNKNOWN]
        return max(ends) * float(self._stream.time_base or 0) if ends else float("inf")

    def _planned(self, packet_of: dict[int, int]) -> Iterator[tuple[int, VideoFrame]]:
        try:
            yield from self._ranked(packet_of, self._needed(packet_of))
        except OutOfOrder:
            raise
        except ValueError:
            pass
        if packet_of:  # left by a key frame that does not hold all that follows, as in rolling intra refresh; or damage
            yield from self._ranked(
                packet_of, self._decoded(range(max(packet_of.values()) + 1))
            )

    def _ranked(
        self, packet_of: dict[int, int], frames: Iterator[VideoFrame]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Those that are wanted, which are struck off."""
        for frame in frames:
            if frame.pts in packet_of:
                del packet_of[frame.pts]
                yield frame.pts, frame

    def _needed(self, packet_of: dict[int, int]) -> Iterator[VideoFrame]:
        if not packet_of:
            return
        wanted = frozenset(packet_of.values())
        fed = segments(self._table, wanted)
        if (
            self.codec == "mpeg4" and fed[0][0] > 0
        ):  # the first packet may name an encoder whose errors are mended
            list(self._decoded(range(1)))
        for segment in fed:
            yield from self._decoded(segment.tolist(), wanted)

    def _decoded(
        self, numbers: Sequence[int], wanted: frozenset[int] | None = None
    ) -> Iterator[VideoFrame]:
        """The pictures of the packets ``numbers``, without those that are neither wanted nor referred to.

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
        for number, packet in zip(numbers, self._numbered(numbers), strict=False):
            skip = "DEFAULT" if wanted is None or number in wanted else "NONREF"
            if skip != self._skip:
                self._skip = self._context.skip_frame = skip
            if self._order is not None:
                packet.pts = self._rank[number]  # decoders hand it on
            yield from self._decode(packet, number)
        yield from self._decode(None, self._count)

    def _decode(self, packet: Packet | None, number: int) -> list[VideoFrame]:
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            raise self._damaged(number, error.strerror) from error
        lacking = packet is not None and packet.is_corrupt and number not in self._cut
        if lacking or any(frame.is_corrupt for frame in frames):
            raise self._damaged(number, "a part of it is missing")
        return frames

    def _damaged(self, number: int, reason: str | None) -> ValueError:
        return ValueError(
            f"{self._source}: damaged at packet {number} of {self._count}: {reason}"
        )

    def _numbered(self, numbers: Sequence[int]) -> Iterator[Packet]:
        if self._packets:
            return map(self._packets.__getitem__, numbers)
        wanted = frozenset(numbers)
        return (
            packet
            for number, packet in enumerate(self._read_again(numbers[0]), numbers[0])
            if number in wanted
        )

    def _read_again(self, start: int) -> Iterator[Packet]:
        """From packet ``start`` on: through the index of the file if it leads there, else from the beginning."""
        first = self._keys[start]
        for _, dts, _ in (first, self._keys[0]):
            self._container.seek(dts or 0, stream=self._stream)
            packets = dropwhile(
                lambda packet: (packet.pts, packet.dts, packet.pos) != first,
                self._demux(),
            )
            for packet in packets:
                yield packet
                yield from packets
                return
