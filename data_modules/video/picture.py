"""A decoded picture to upright pixels.

With ``decode.py``, ``track.py`` and ``encode.py`` the only file that imports av.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import UInt8

_IMAGE_CODECS = {".jpg": "mjpeg", ".jpeg": "mjpeg", ".png": "png"}

# Numbers of ITU-T H.273 table 4. Where nothing is said (2), FFmpeg takes BT.601.
_MATRICES = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_YUV420 = frozenset({"yuv420p", "yuvj420p"})


class YUV(NamedTuple):
    """The planes of a picture: luma, then U and V, which have half its sides, rounded up."""

    planes: Sequence[UInt8[np.ndarray, "_ _"]]
    matrix: str
    full_range: bool


class _Converter(threading.local):
    """One per thread: a new scaler for every frame costs three times the conversion itself."""

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()


_CONVERTER = _Converter()


class Shape(NamedTuple):
    """How the pictures of a video become upright frames of one size with square pixels.

    Attributes:
        stored: height and width in which pictures are stored, after scaling to square pixels; pixels.
        transposed: rows and columns are swapped, first.
        flipped: the frame is turned upside down, last.
        mirrored: left and right are swapped, last.
    """

    stored: tuple[int, int]
    transposed: bool = False
    flipped: bool = False
    mirrored: bool = False

    @classmethod
    def of(cls, frame: VideoFrame, pixel_ratio: float) -> "Shape":
        """From the first picture of a video, whose pixels are ``pixel_ratio`` times as wide as high.

        A display matrix (ISO 14496-12, sec. 6.2.2) shows (x, y) at (ax + cy, bx + dy); it is rounded to a quarter turn.
        """
        shape = cls.of_size(frame.height, frame.width, pixel_ratio)
        if not frame.rotation:  # asked first, because side data and frame hold each other in memory
            return shape
        parts: Any = frame.side_data
        a, b, _, c, d = np.frombuffer(bytes(parts["DISPLAYMATRIX"]), np.int32)[:5].tolist()
        if abs(b) > abs(a):
            return shape._replace(transposed=True, flipped=b < 0, mirrored=c < 0)
        return shape._replace(flipped=d < 0, mirrored=a < 0)

    @classmethod
    def of_size(cls, height: int, width: int, pixel_ratio: float) -> "Shape":
        """Of upright pictures."""
        return cls((height, max(1, round(width * pixel_ratio))))

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = self.stored
        return (width, height) if self.transposed else (height, width)

    def rgb(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        """The upright frame, 0-255."""
        pixels = _plane(_reformat(frame, self.stored, "rgb24").planes[0], 3)
        pixels = pixels.swapaxes(0, 1) if self.transposed else pixels
        return pixels[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]

    def yuv(self, frame: VideoFrame) -> YUV:
        """The upright frame; the very planes of the decoder where it needs no turning, scaling or other format."""
        if self.transposed or self.flipped or self.mirrored:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(self.rgb(frame)), format="rgb24")
        if frame.format.name not in _YUV420 or (frame.height, frame.width) != self.upright:
            frame = _reformat(frame, self.upright, "yuv420p")
        full_range = frame.color_range == ColorRange.JPEG or frame.format.name == "yuvj420p"
        planes = [_plane(plane, 1)[..., 0] for plane in frame.planes]
        return YUV(planes, _MATRICES.get(frame.colorspace, "bt601"), full_range)


def read_image(path: Path) -> VideoFrame:
    """Decode a JPEG or PNG file.

    Raises:
        ValueError: the file holds no such image, or a damaged one.
    """
    context = CodecContext.create(_IMAGE_CODECS[path.suffix.lower()], "r")  # pyright: ignore
    assert isinstance(context, VideoCodecContext)
    context.thread_count, context.options = 1, {"err_detect": "explode"}
    try:
        frames = [*context.decode(Packet(path.read_bytes())), *context.decode(None)]
    except FFmpegError as error:
        raise ValueError(f"{path}: cannot be read as an image: {error.strerror}") from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise ValueError(f"{path}: cannot be read as an image: {len(frames)} pictures decode whole")
    return frames[0]


def _reformat(frame: VideoFrame, size: tuple[int, int], pixel_format: str) -> VideoFrame:
    height, width = size
    matrix = None if frame.colorspace in _MATRICES else Colorspace.ITU601  # of RGB, and of rare ones
    return _CONVERTER.reformatter.reformat(frame, width, height, pixel_format, dst_colorspace=matrix, threads=1)


def _plane(plane: VideoPlane, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """The memory of the frame itself."""
    memory: Any = plane
    shape, strides = (plane.height, plane.width, channels), (plane.line_size, channels, 1)
    return np.ndarray(shape, np.uint8, memory, strides=strides)
