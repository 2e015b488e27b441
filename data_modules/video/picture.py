"""Turn a decoded picture into upright pixels.

With ``demux.py``, ``track.py`` and ``encode.py`` the only file that imports av.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import UInt8

from data_modules.video.headers.png import without_profile

# How a file of each begins; its suffix may be wrong.
_IMAGE_CODECS = {
    b"\xff\xd8\xff": "mjpeg",
    b"\x89PNG": "png",
    b"RIFF": "webp",
    b"BM": "bmp",
}

Picture: TypeAlias = VideoFrame  # as the decoder gives it

# Matrices by their numbers of ITU-T H.273 table 4. Where nothing is said (2, 3), or RGB of what is none (0), FFmpeg
# takes BT.601.
_MATRICES = {
    0: "bt601",
    1: "bt709",
    2: "bt601",
    3: "bt601",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    9: "bt2020",
}
_NUMBERS = {
    "bt709": Colorspace.ITU709,
    "fcc": Colorspace.FCC,
    "bt601": Colorspace.ITU601,
    "smpte240m": Colorspace.SMPTE240M,
    "bt2020": Colorspace.BT2020,
}
_NOT_CONVERTED = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    12: "derived from the primaries",
    13: "derived from the primaries, with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_YUV420 = frozenset({"yuv420p", "yuvj420p"})


def _unnamed(kind: type[Type], number: int) -> Type:
    """Return a member for a kind of side data that FFmpeg knows and PyAV does not."""
    member = object.__new__(kind)
    member._name_ = f"UNNAMED_{number}"
    member._value_ = number
    return member


_kinds: Any = Type
# PyAV looks each kind up in this enumeration: else one that it lacks makes all side data of a picture unreadable.
_kinds._missing_ = classmethod(_unnamed)
_Entries: Any = SideDataContainer  # its stub has no arguments


class Colors(NamedTuple):
    """Say what the numbers of a YUV picture mean.

    Attributes:
        matrix: a name in :data:`~data_modules.video.color.LUMA`.
        full_range: luma spans 0-255 and not 16-235.
    """

    matrix: str
    full_range: bool


class YUV(NamedTuple):
    """Hold the planes of a picture: luma, then U and V, which have half its sides, rounded up."""

    planes: Sequence[UInt8[np.ndarray, "_ _"]]
    colors: Colors


class _Converter(threading.local):
    """Hold a scaler of each thread: a new one for every frame costs three times the conversion itself."""

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()


_CONVERTER = _Converter()


class Shape(NamedTuple):
    """Say how the pictures of a video become upright frames of one size with square pixels.

    A frame is the stored picture, scaled, then transposed, then flipped and mirrored:

        stored          transposed      transposed, mirrored: a quarter turn clockwise
        1 2 3           1 4             4 1
        4 5 6           2 5             5 2
                        3 6             6 3

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
    def of(cls, frame: Picture, pixel_ratio: float) -> "Shape":
        """Return the shape that the display matrix of a picture asks for.

        The matrix (ISO 14496-12, sec. 6.2.2) shows (x, y) at (ax + cy, bx + dy); it is rounded to a quarter turn.

        Args:
            frame: a picture of the video.
            pixel_ratio: width over height of its pixels.
        """
        shape = cls.of_size(frame.height, frame.width, pixel_ratio)
        # Not ``frame.side_data``, which would keep the frame in memory.
        matrix = _Entries(frame).get("DISPLAYMATRIX")
        if matrix is None:
            return shape
        # Three numbers a row, of which the third (u, v) is of no use here.
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        if abs(b) > abs(a):
            return shape._replace(transposed=True, flipped=b < 0, mirrored=c < 0)
        return shape._replace(flipped=d < 0, mirrored=a < 0)

    @classmethod
    def of_size(cls, height: int, width: int, pixel_ratio: float) -> "Shape":
        """Return the shape of upright pictures of ``height`` x ``width`` pixels."""
        return cls((height, max(1, round(width * pixel_ratio))))

    @property
    def upright(self) -> tuple[int, int]:
        """Return height and width of the frames, pixels."""
        height, width = self.stored
        return (width, height) if self.transposed else (height, width)

    def scaled(self, upright: tuple[int, int]) -> "Shape":
        """Return the shape that gives frames of this height and width, pixels."""
        height, width = upright
        return self._replace(stored=(width, height) if self.transposed else upright)

    def rgb(self, frame: Picture) -> UInt8[np.ndarray, "h w 3"]:
        """Return the upright frame, RGB, 0-255."""
        pixels = _plane(_reformat(frame, self.stored, "rgb24").planes[0], 3)
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]

    def yuv(self, frame: Picture, colors: Colors | None = None) -> YUV:
        """Return the upright frame; the very planes of the decoder where it needs no turning, scaling or other format.

        Args:
            frame: as it was decoded.
            colors: to which the frame is converted; by default its own stay.
        """
        if self.transposed or self.flipped or self.mirrored:
            turned = np.ascontiguousarray(self.rgb(frame))
            frame = VideoFrame.from_ndarray(turned, format="rgb24")
        fits = (frame.height, frame.width) == self.upright
        if not fits or frame.format.name not in _YUV420:
            frame = _reformat(frame, self.upright, "yuv420p")
        if colors not in (None, _colors(frame)):
            frame = _recolored(frame, colors)
        return YUV(
            [_plane(plane, 1)[..., 0] for plane in frame.planes], _colors(frame)
        )


def unknown_colors(frame: Picture) -> str:
    """Return why the colors of a frame cannot become RGB, one sentence; empty if they can."""
    if frame.colorspace in _MATRICES:
        return ""
    name = _NOT_CONVERTED.get(frame.colorspace, "of an unknown kind")
    return (
        f"its color matrix is {name} (number {frame.colorspace} "
        "of ITU-T H.273), which FFmpeg does not convert to RGB; "
        "convert the file first, as with ffmpeg -i IN -vf zscale=matrix=709 OUT"
    )


def _colors(frame: Picture) -> Colors:
    # The format yuvj420p says so by its name; frames of it need not state a range.
    full_range = (
        frame.color_range == ColorRange.JPEG or frame.format.name == "yuvj420p"
    )
    return Colors(_MATRICES[frame.colorspace], full_range)


def _recolored(frame: Picture, colors: Colors) -> Picture:
    """Return the frame in other colors, through RGB, as no scaler changes the matrix alone."""
    size = (frame.height, frame.width)
    rgb = _reformat(frame, size, "rgb24")
    matrix = _NUMBERS[colors.matrix]
    color_range = ColorRange.JPEG if colors.full_range else ColorRange.MPEG
    return _reformat(rgb, size, "yuv420p", matrix, color_range)


def read_image(path: Path) -> Picture:
    """Decode a JPEG, PNG, WebP or BMP file, whatever its suffix.

    Raises:
        ValueError: the file holds no such image, or a damaged one.
    """
    content = path.read_bytes()
    codec = _image_codec(content)
    if codec is None:
        raise ValueError(
            f"{path}: cannot be read as an image: it begins "
            f"as no {', '.join(_IMAGE_CODECS.values())} does"
        )
    if codec == "png":
        content = without_profile(content)
    context = CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = {"err_detect": "explode"}  # damage is an error, not a picture
    try:
        frames = [*context.decode(Packet(content)), *context.decode(None)]
    except FFmpegError as error:
        raise ValueError(
            f"{path}: cannot be read as an image: {error.strerror}"
        ) from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise ValueError(
            f"{path}: cannot be read as an image: {len(frames)} pictures decode whole"
        )
    return frames[0]


def _image_codec(content: bytes) -> str | None:
    """Return FFmpeg's name of the codec of an image file, by how it begins."""
    for start, codec in _IMAGE_CODECS.items():
        if content.startswith(start):
            return codec
    return None


def _reformat(
    frame: Picture,
    size: tuple[int, int],
    pixel_format: str,
    matrix: Colorspace | None = None,
    color_range: ColorRange | None = None,
) -> Picture:
    """Return the frame scaled, and in another format; in its own colors where no others are given."""
    height, width = size
    # Stated on both sides, so that another size or format alone changes no color.
    own = _NUMBERS[_MATRICES[frame.colorspace]]
    return _CONVERTER.reformatter.reformat(
        frame,
        width,
        height,
        pixel_format,
        src_colorspace=own,
        dst_colorspace=matrix or own,
        dst_color_range=color_range,
        threads=1,
    )


def _plane(plane: VideoPlane, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Return the memory of the frame itself, without copying it."""
    memory: Any = plane
    shape = (plane.height, plane.width, channels)
    # Rows are padded in memory: a line is longer than the pixels in it.
    strides = (plane.line_size, channels, 1)
    return np.ndarray(shape, np.uint8, memory, strides=strides)
