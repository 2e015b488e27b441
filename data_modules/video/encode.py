"""Encode frames into a video file.

With ``demux.py``, ``track.py`` and ``picture.py`` the only file that imports av.
"""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from data_modules.io.atomic import atomic_write

# Macroblock-tree rate control on CPUs with AVX-512 wrote up to five different files of the same frames.
_OPTIONS = {"libx264": {"mbtree": "0"}}

# A key frame every 16, between them 7 flat B frames that no other frame needs: any frame costs at most four decodes.
# What x264 does for eyes alone is off: at the same bytes luma is 0.7 dB nearer, and there is less to decode.
_FAST = "keyint=16:min-keyint=16:scenecut=0:open-gop=0:bframes=7:b-adapt=0:b-pyramid=none:psy=0:aq-mode=0:mbtree=0"
_MATRICES = {  # ITU-T H.273, table 4
    "bt709": 1,
    "fcc": 4,
    "bt601": 6,
    "smpte240m": 7,
    "bt2020": 9,
}


class Raster(NamedTuple):
    """Say what the bytes of yuv420p pictures (y, then u, then v) mean.

    Attributes:
        height: pixels, even.
        width: pixels, even.
        matrix: between YUV and RGB, such as ``bt709``.
        full_range: whether luma spans 0-255, not 16-235.
    """

    height: int
    width: int
    matrix: str
    full_range: bool


def write_video(
    path: str | Path,
    frames: Tensor | np.ndarray,
    fps: int | float | Fraction,
    *,
    codec: str = "libx264",
    gop: int = 12,
    qp: int | None = None,
) -> None:
    """Encode RGB frames (0-255) as yuv420p; the file suffix names the container.

    The same frames give the same bytes: one encoder thread, no time stamp of the day. The file appears under
    ``path`` only when it is complete.

    Args:
        path: where the file goes, in an existing folder.
        frames: uint8 "t h w 3"; height and width even, as yuv420p shares one color between 2 x 2 pixels.
        fps: frames a second, kept as the nearest ratio with a denominator up to 1001 (NTSC: 30000/1001).
        codec: a name that FFmpeg knows, such as ``libx264``, ``libx265``, ``mpeg4`` or ``libvpx-vp9``.
        gop: largest distance between two key frames, frames.
        qp: quantizer of libx264 for all frames, 0 to 51: lower is better and larger. With ``gop=1`` a decoded
            frame then depends on no other frame. None: the codec's own rate control, which looks at the frames before.

    Raises:
        ValueError: for frames that cannot be encoded, or a codec that this build of FFmpeg lacks.
    """
    pixels = np.asarray(frames)
    _check(pixels, codec)
    rate = Fraction(fps).limit_denominator(1001)
    options = dict(_OPTIONS.get(codec, {}))
    if qp is not None:
        options["qp"] = str(qp)
    with atomic_write(Path(path)) as partial:
        _encode(partial, pixels, _Encoder(codec, gop, options), rate)


def write_fast_video(
    path: Path,
    pictures: Iterable[UInt8[np.ndarray, " n"]],
    raster: Raster,
    *,
    ticks: Sequence[int],
    time_base: Fraction,
    crf: int,
) -> None:
    """Encode pictures as the H.264 file in which any frame is cheapest to reach.

    A key frame every 16, between them B frames that no other frame needs, no deblocking and no arithmetic coding:
    a decoder that leaves out what is not asked for decodes at most four frames for one. The same pictures give the
    same bytes, and the file appears under ``path`` only when it is complete.

    Args:
        path: where the file goes, in an existing folder; an MP4 file.
        pictures: uint8, as ``raster`` says.
        raster: their size and colors, which the file states.
        ticks: when each is shown, from 0 on and rising, and when the last one ends, in units of ``time_base``.
        time_base: seconds.
        crf: constant rate factor of x264: lower is better and larger.

    Raises:
        OSError: the file cannot be written: no room, or no right to.
    """
    length = ticks[-1] - ticks[0]
    rate = Fraction(len(ticks) - 1, length) / time_base
    try:
        with atomic_write(path) as partial, _mp4(partial) as container:
            stream = _fast_stream(container, raster, rate, time_base, crf)
            *packets, last = _packets(stream, pictures, raster, ticks, time_base)
            # The mean rate of an MP4 file is over decoding times: the last duration makes it that of the ticks.
            first = packets[0] if packets else last
            decoded = (last.dts or 0) - (first.dts or 0)
            last.duration = max(1, length - decoded)
            container.mux([*packets, last])
    except FFmpegError as error:
        # Another kind of error: who reads the pictures that are encoded here takes an FFmpegError for its own.
        raise OSError(f"{path}: cannot be written: {error.strerror}") from error


def _mp4(path: Path) -> OutputContainer:
    # Without an identifier of the encoder, and with the index in front of the pictures.
    options = {"fflags": "bitexact", "movflags": "faststart"}
    return av.open(str(path), "w", format="mp4", options=options)


def _fast_stream(
    container: OutputContainer,
    raster: Raster,
    rate: Fraction,
    time_base: Fraction,
    crf: int,
) -> av.VideoStream:
    options = {"tune": "fastdecode", "crf": str(crf), "x264-params": _FAST}
    stream = container.add_stream(
        "libx264", rate=rate.limit_denominator(1001), options=options
    )
    stream.height = raster.height
    stream.width = raster.width
    stream.pix_fmt = "yuv420p"
    stream.thread_count = 1  # with more, the same frames may give other bytes
    stream.time_base = time_base
    stream.codec_context.time_base = time_base
    stream.codec_context.colorspace = _MATRICES[raster.matrix]
    stream.codec_context.color_range = 2 if raster.full_range else 1
    return stream


def _packets(
    stream: av.VideoStream,
    pictures: Iterable[UInt8[np.ndarray, " n"]],
    raster: Raster,
    ticks: Sequence[int],
    time_base: Fraction,
) -> Iterator[Packet]:
    for picture, (start, end) in zip(pictures, pairwise(ticks), strict=True):
        rows = rearrange(picture, "(h w) -> h w", w=raster.width)
        frame = av.VideoFrame.from_ndarray(rows, format="yuv420p")
        frame.pts = start
        frame.duration = end - start
        frame.time_base = time_base
        yield from stream.encode(frame)
    yield from stream.encode(None)


def resized(
    pictures: UInt8[np.ndarray, "t n"],
    height: int,
    width: int,
    *,
    to: tuple[int, int],
) -> UInt8[np.ndarray, "t m"]:
    """Scale yuv420p pictures to another even size, bicubic with antialiasing; return them where they have that size.

    Args:
        pictures: of ``height`` x ``width`` pixels, 0-255.
        height: even, pixels.
        width: even, pixels.
        to: height and width of the pictures that are returned.
    """
    if (height, width) == to:
        return pictures
    scaler = VideoReformatter()  # one for all: a new one costs more than to scale
    scaled: list[UInt8[np.ndarray, "h w"]] = []
    for picture in rearrange(pictures, "t (h w) -> t h w", w=width):
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        smaller = scaler.reformat(
            frame, to[1], to[0], interpolation="BICUBIC", threads=1
        )
        scaled.append(smaller.to_ndarray())
    return rearrange(np.stack(scaled), "t h w -> t (h w)")


class _Encoder(NamedTuple):
    """Say how frames are encoded."""

    codec: str
    gop: int
    options: dict[str, str]


def _encode(
    path: Path,
    pixels: UInt8[np.ndarray, "t h w 3"],
    encoder: _Encoder,
    fps: Fraction,
) -> None:
    # Else Matroska draws a random identifier, and the same frames give other bytes.
    options = {"fflags": "bitexact"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(
            encoder.codec, rate=fps, options=encoder.options
        )
        assert isinstance(stream, av.VideoStream), (
            "a codec name checked as video gave another stream"
        )
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.gop_size = encoder.gop
        for rgb in pixels:
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _check(pixels: np.ndarray, codec: str) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(
            "frames: expected uint8 't h w 3', got "
            f"{pixels.dtype} of shape {pixels.shape}"
        )
    time, height, width, _ = pixels.shape
    if 0 in pixels.shape or height % 2 or width % 2:
        raise ValueError(
            "frames: need one or more, height and width "
            f"even; got {time} of {height} x {width}"
        )
    if not _encodes_video(codec):
        raise ValueError(
            "codec: this FFmpeg has no video encoder "
            f"{codec!r}; libx264 and mpeg4 are usual"
        )


def _encodes_video(codec: str) -> bool:
    try:
        return av.Codec(codec, "w").type == "video"
    except UnknownCodecError:
        return False
