"""Frames to a video file. Only this file and ``decode.py`` import av."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from jaxtyping import UInt8
from torch import Tensor

# Macroblock-tree rate control on CPUs with AVX-512 wrote up to five different files of the same frames.
_OPTIONS = {"libx264": {"mbtree": "0"}}


def write_video(
    path: str | Path,
    frames: Tensor | np.ndarray,
    fps: int | float | Fraction,
    *,
    codec: str = "libx264",
    gop: int = 12,
) -> None:
    """Encode RGB frames (0-255) as yuv420p; the file suffix names the container.

    The same frames give the same bytes: one encoder thread, no time stamp of the day. The file appears under
    ``path`` only when it is complete.

    Args:
        path: where the file goes, in an existing folder.
        frames: uint8 "t h w 3"; height and width even, as yuv420p shares one colour between 2 x 2 pixels.
        fps: frames a second, kept as the nearest ratio with a denominator up to 1001 (NTSC: 30000/1001).
        codec: a name that FFmpeg knows, such as ``libx264``, ``libx265``, ``mpeg4`` or ``libvpx-vp9``.
        gop: largest distance between two key frames, frames.

    Raises:
        ValueError: for frames that cannot be encoded, or a codec that this build of FFmpeg lacks.
    """
    path, pixels = Path(path), np.asarray(frames)
    _check(pixels, codec)
    partial = path.with_name(f".partial-{path.name}")
    try:
        _encode(partial, pixels, Fraction(fps).limit_denominator(1001), codec, gop)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _encode(path: Path, pixels: UInt8[np.ndarray, "t h w 3"], fps: Fraction, codec: str, gop: int) -> None:
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as container:  # Matroska draws an identifier
        stream = container.add_stream(codec, rate=fps, options=_OPTIONS.get(codec, {}))
        assert isinstance(stream, av.VideoStream), "a codec name checked as video gave another stream"
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt, stream.thread_count, stream.gop_size = "yuv420p", 1, gop
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _check(pixels: np.ndarray, codec: str) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(f"frames: expected uint8 't h w 3', got {pixels.dtype} of shape {pixels.shape}")
    time, height, width, _ = pixels.shape
    if 0 in pixels.shape or height % 2 or width % 2:
        raise ValueError(f"frames: need one or more, height and width even; got {time} of {height} x {width}")
    if not _encodes_video(codec):
        raise ValueError(f"codec: this FFmpeg has no video encoder {codec!r}; libx264 and mpeg4 are usual")


def _encodes_video(codec: str) -> bool:
    try:
        return av.Codec(codec, "w").type == "video"
    except UnknownCodecError:
        return False
