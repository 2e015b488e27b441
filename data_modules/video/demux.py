"""Open a video file, choose its main track and read the packets of that track.

With ``track.py``, ``picture.py`` and ``encode.py`` the only file that imports av.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import dropwhile, islice
from operator import attrgetter
from typing import TypeAlias

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from data_modules.video.headers.container import stated_duration
from data_modules.video.headers.parameter_set import parameter_set
from data_modules.video.source import Source

_WITH_HEADER = frozenset({"mp4", "matroska"})
# Codecs whose pictures are all that their container says: nothing of them is left open.
_TOLD_BY_CONTAINER = frozenset({"vp8", "vp9", "av1"})
# FFmpeg finds no decoder, so it reads the header of the file and nothing else.
_HEADER_ALONE = {
    "codec_whitelist": "none",
    "probesize": "32",
    "analyzeduration": "1",
    "fflags": "noparse",
}
_STILL = int(
    Disposition.attached_pic
    | Disposition.timed_thumbnails
    | Disposition.still_image
)
_IMAGE_CODECS = frozenset(
    {"mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "jpegls"}
)


def decoder() -> str:
    """Return name and version of what decodes; two of them may round pixels differently."""
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"PyAV {av.__version__}, libavcodec {codec}"


# Pixels that the flag "default" outweighs, as in the ffmpeg program.
_BY_DEFAULT = 5_000_000
_AT_A_TIME = 4096  # packets
# Of packets in memory; those of a longer video are read again from the key frames on.
_KEPT_BYTES = 128 << 20
# Presentation time, decoding time and position in the file, which tell a packet from others.
_Key: TypeAlias = tuple[int | None, int | None, int | None]


@contextmanager
def opened(source: Source) -> Generator[InputContainer]:
    """Open a file, and close it at the end of the ``with`` block.

    To learn what a header may leave open FFmpeg decodes pictures and sound, for as long as a tenth of a clip takes.
    Where the header leaves nothing open, nothing is decoded, and no packet is looked into to find what it tells.

    Raises:
        ValueError: FFmpeg cannot open the file, or fails within the block; names the file and the reason.
    """
    try:
        # Titles may be in any encoding: PyAV must not stop at one that is no UTF-8.
        container = av.open(
            source.url, metadata_errors="ignore", options=_HEADER_ALONE
        )
        if not _tells_all(container):
            container.close()
            container = av.open(source.url, metadata_errors="ignore")
        with container:
            yield container
    except FFmpegError as error:
        raise ValueError(
            f"{source}: cannot be read as a video: {error.strerror}"
        ) from error


def main_track(container: InputContainer) -> VideoStream | None:
    """Return the video track that holds the film; None where there is none.

    Covers, thumbnails and other pictures never do. Of the other tracks the choice is that of the ffmpeg program: the
    largest one, where a flag "default" outweighs five million pixels; the first one of equals.
    """
    tracks: list[VideoStream] = []
    moving: list[VideoStream] = []
    for track in container.streams.video:
        if int(track.disposition) & _STILL:
            continue
        tracks.append(track)
        if track.frames != 1 and _codec(track) not in _IMAGE_CODECS:
            moving.append(track)
    if len(tracks) == 1:
        return tracks[0]
    return max(moving or tracks, key=_weight, default=None)


def _codec(track: VideoStream) -> str:
    """Return the codec of the track; empty where this FFmpeg has no decoder for it."""
    context = track.codec_context
    return context.codec.canonical_name if context else ""  # pyright: ignore[reportUnnecessaryComparison]


def _weight(track: VideoStream) -> int:
    context = track.codec_context
    area = context.height * context.width if context else 0  # pyright: ignore[reportUnnecessaryComparison]
    return area + _BY_DEFAULT * bool(track.disposition & Disposition.default)


def _tells_all(container: InputContainer) -> bool:
    """Tell whether the header states rate, size, pixel ratio and order of pictures, or the codec leaves no choice."""
    stream = main_track(container)
    if stream is None or not stream.average_rate:
        return False
    if not _WITH_HEADER & set(container.format.name.split(",")):
        return False
    codec = _codec(stream)
    if codec != "h264":
        return codec in _TOLD_BY_CONTAINER
    context = stream.codec_context
    stated = parameter_set(bytes(context.extradata or b""))
    if stated is None or stated.reorder is None:
        return False
    if (stated.height, stated.width) != (context.height, context.width):
        return False
    is_square = stated.pixel_ratio in ((0, 0), (1, 1))
    return stream.sample_aspect_ratio is not None or is_square


def stated_end(
    container: InputContainer, stream: VideoStream, first: int | None
) -> float:
    """Return when the last picture ends by the header, seconds; 0 where it does not say so of the video track.

    Args:
        container: open.
        stream: its video track.
        first: the earliest presentation time of a packet, ticks of the stream.
    """
    if "matroska" in container.format.name.split(","):
        # Some programs count from 0 and some from the first picture: the earlier end holds.
        return stated_duration(stream.metadata) or _length_of_all(container)
    if stream.duration:
        return float((first or 0) + stream.duration) * float(stream.time_base or 0)
    length = _length_of_all(container)
    start = (container.start_time or 0) / 1e6  # microseconds
    return start + length if length else 0.0


def _length_of_all(container: InputContainer) -> float:
    """Return what the header says of all tracks together, seconds; 0 where the video track is not alone."""
    alone = len(container.streams) == 1
    return (container.duration or 0) / 1e6 if alone else 0.0


class PacketReader:
    """Read the packets of one track in decoding order, and keep them where they take little memory.

    Args:
        container: open.
        stream: the track.

    Attributes:
        first: the bytes of the first packet, once it was read.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._keeps = container.size <= _KEPT_BYTES
        self._kept: list[Packet] = []
        self._keys: list[_Key] = []
        self.first = b""

    def read(self) -> Iterator[list[Packet]]:
        """Yield all packets, many at a time; to be called once, before all other methods."""
        packets = self._demux()
        while some := list(islice(packets, _AT_A_TIME)):
            self.first = self.first or bytes(some[0])
            if self._keeps:
                self._kept += some
            else:
                self._keys += [
                    (packet.pts, packet.dts, packet.pos) for packet in some
                ]
            yield some

    def durations(self) -> list[int | None]:
        """Return how long the picture of each packet is shown, ticks; none of a long video."""
        return [packet.duration for packet in self._kept]

    def numbered(self, numbers: Sequence[int]) -> Iterator[Packet]:
        """Yield the packets of these numbers, which rise from 0 on in decoding order."""
        if self._kept:
            return map(self._kept.__getitem__, numbers)
        return self._numbered_again(numbers)

    def _numbered_again(self, numbers: Sequence[int]) -> Iterator[Packet]:
        wanted = frozenset(numbers)
        start = numbers[0]
        for number, packet in enumerate(self._read_again(start), start):
            if number in wanted:
                yield packet

    def _read_again(self, start: int) -> Iterator[Packet]:
        """Yield packets from ``start`` on, through the index of the file if it leads there, else from the beginning."""
        wanted = self._keys[start]

        def is_before(packet: Packet) -> bool:
            return (packet.pts, packet.dts, packet.pos) != wanted

        for _, dts, _ in (wanted, self._keys[0]):
            self._container.seek(dts or 0, stream=self._stream)
            packets = dropwhile(is_before, self._demux())
            for packet in packets:
                yield packet
                yield from packets
                return

    def _demux(self) -> Iterator[Packet]:
        # The last packet is empty: PyAV's sign for the decoder to give what it holds back.
        return filter(attrgetter("size"), self._container.demux(self._stream))
