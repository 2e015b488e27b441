"""Video files to frames. Only this file, ``track.py``, ``picture.py`` and ``encode.py`` import av.

A frame is named by its rank in presentation order, from 0. One codec thread per video: clips are read in parallel,
frames of one clip are not.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from av.error import FFmpegError
from av.video.frame import VideoFrame
from einops import rearrange
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from data_modules.transforms.crops import Box
from data_modules.video.color import Planes
from data_modules.video.images import ImageTrack
from data_modules.video.picture import Colors, Shape, read_image, unknown_colors
from data_modules.video.source import Source
from data_modules.video.track import FileTrack, OutOfOrder, opened

Indices: TypeAlias = Sequence[int] | Int64[np.ndarray, " t"]
Part: TypeAlias = Box | Callable[[int, int], Box] | None
_Place: TypeAlias = tuple[tuple[slice, slice], tuple[int, int], slice]


class VideoInfo(NamedTuple):
    """What a file holds.

    Attributes:
        num_frames: frames that can be shown, counted in the file; its header is not believed.
        fps: mean frames a second.
        duration: num_frames / fps, seconds.
        height: of the upright frame with square pixels, pixels.
        width: of the upright frame with square pixels, pixels.
        codec: such as "h264", or "images".
        keyframes: number of frames at which decoding can start.
        note: what is odd about a file that can be read, one sentence without a point; empty where nothing is.
    """

    num_frames: int
    fps: float
    duration: float
    height: int
    width: int
    codec: str
    keyframes: int
    note: str = ""


class Frames(NamedTuple):
    """Frames of one video.

    Attributes:
        pixels: RGB, 0-255; channels lie last in memory.
        seconds: presentation time of each, from that of the video's first frame.
    """

    pixels: UInt8[Tensor, "t c h w"]
    seconds: Float64[Tensor, " t"]


def probe(path: str | Path | Source) -> VideoInfo:
    """What the file holds. Errors as in :func:`open_video`."""
    with open_video(path) as video:
        return video.info()


def decode(path: str | Path | Source, indices: Indices) -> UInt8[Tensor, "t c h w"]:
    """The pixels of the frames at ``indices``, as :meth:`Video.frames`. Errors as in :func:`open_video`."""
    with open_video(path) as video:
        return video.frames(indices).pixels


@contextmanager
def open_video(
    path: str | Path | Source, *, sequential: bool = False, image_fps: int | float = 12
) -> Generator["Video"]:
    """An open video, closed again at the end of the ``with`` block.

    Args:
        path: a video file, a part of a file, or a folder of frame images.
        sequential: decode every frame up to the last one that is wanted, skipping none, and count them as they come.
        image_fps: rate of a folder of images, frames a second; 12 is that of Something-Something.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a video, damaged, or without a frame that decodes; names the file and the reason.
    """
    source = path if isinstance(path, Source) else Source(Path(path))
    if source.path.is_dir():
        yield Video(ImageTrack(source.path, read_image, fps=image_fps), str(source))
        return
    if not source.path.is_file():
        raise FileNotFoundError(f"{source}: no such video file")
    try:
        with opened(source) as container:
            yield Video(
                FileTrack(container, source, sequential=sequential), str(source)
            )
    except FFmpegError as error:
        raise ValueError(
            f"{source}: cannot be read as a video: {error.strerror}"
        ) from error


class Video:
    """Frames of an open file or folder, upright and with square pixels."""

    def __init__(self, track: FileTrack | ImageTrack[VideoFrame], name: str) -> None:
        self._track, self._name = track, name

    @property
    def num_frames(self) -> int:
        """Frames that can be shown."""
        if not len(self._track.seconds):
            raise ValueError(f"{self._name}: holds no frame that decodes")
        return len(self._track.seconds)

    @property
    def fps(self) -> float:
        """Mean frames a second."""
        return self._track.fps

    @property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """When each frame is shown, from the first one."""
        return self._track.seconds

    @property
    def height(self) -> int:
        """Of the frames, pixels."""
        return self._shape.upright[0]

    @property
    def width(self) -> int:
        """Of the frames, pixels."""
        return self._shape.upright[1]

    def info(self) -> VideoInfo:
        """Counts, rate and size; decodes the first frame."""
        count, fps = self.num_frames, self.fps
        track = self._track
        size = self.height, self.width
        return VideoInfo(
            count, fps, count / fps, *size, track.codec, track.keyframes, track.note
        )

    def check(self) -> None:
        """Decode every frame once, in order.

        Raises:
            ValueError: anything is damaged or cut short; names the file and the reason.
        """
        ranks = frozenset([0])
        if isinstance(self._track, ImageTrack):
            ranks = frozenset(range(self.num_frames))
        else:
            self._track.check()
        for rank, frame in self._track.pictures(ranks):
            self._shape_of(rank, frame)
        self.info()

    def ranks(
        self, seconds: Sequence[float] | Float64[np.ndarray, " t"]
    ) -> Int64[np.ndarray, " t"]:
        """The frame that is shown at each time, seconds from the first frame; before it the first."""
        later = np.searchsorted(
            self._track.seconds, np.asarray(seconds, np.float64), side="right"
        )
        return np.clip(later - 1, 0, self.num_frames - 1)

    def at_ticks(self, ticks: Int64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
        """The frames that are shown in the middle of these ticks of an even clock of ``fps`` ticks a second."""
        return self.ranks((ticks + 0.5) / self.fps)

    def frames(self, indices: Indices, box: Part = None) -> Frames:
        """RGB in the order of ``indices``, which may repeat.

        Args:
            indices: ranks in presentation order, from 0.
            box: the part that is wanted of each frame, or a function that is asked for it once, with the height and the
                width that the first decoded frame shows; by default all of it.

        Raises:
            ValueError: an index below 0, or at or above the number of frames; a box beyond the frame; damaged data;
                colors that FFmpeg does not convert; images of several sizes.
        """
        box = self._box(box)

        def write(
            shape: Shape, frame: VideoFrame, row: UInt8[np.ndarray, "h w 3"]
        ) -> None:
            row[:] = shape.rgb(frame)[_slices(box)]

        pixels = self._gather(indices, (box.height, box.width, 3), write)
        seconds = self._track.seconds[np.asarray(indices)]
        return Frames(
            rearrange(torch.from_numpy(pixels), "t h w c -> t c h w"),
            torch.from_numpy(seconds),
        )

    def planes(self, indices: Indices, box: Part = None) -> Planes:
        """These frames as the decoder gives them, for :func:`~data_modules.video.color.to_rgb`; see :meth:`frames`."""
        grown, inside = _grown(self._box(box))
        layout, colors = _layout(grown), list[Colors]()

        def write(
            shape: Shape, frame: VideoFrame, row: UInt8[np.ndarray, " n"]
        ) -> None:
            yuv = shape.yuv(
                frame, colors[0] if colors else None
            )  # a clip has those of the first frame decoded
            colors.append(yuv.colors)
            for plane, (part, size, place) in zip(yuv.planes, layout, strict=True):
                _fill(row[place].reshape(size), plane[part])

        data = self._gather(indices, (grown.height * grown.width * 3 // 2,), write)
        return Planes(
            torch.from_numpy(data), grown.height, grown.width, inside, *colors[0]
        )

    def _gather(
        self,
        indices: Indices,
        size: tuple[int, ...],
        write: Callable[[Shape, VideoFrame, UInt8[np.ndarray, "..."]], None],
    ) -> UInt8[np.ndarray, "t ..."]:
        """What ``write`` puts down of each frame; each is decoded once."""
        asked = [int(index) for index in indices]
        if not asked or min(asked) < 0:
            raise ValueError(
                f"{self._name}: frame indices are one or more numbers from 0 on, got {asked}"
            )
        try:
            return self._gathered(asked, size, write)
        except OutOfOrder:  # what was written may be of other frames
            return self._gathered(asked, size, write)

    def _gathered(
        self,
        asked: list[int],
        size: tuple[int, ...],
        write: Callable[[Shape, VideoFrame, UInt8[np.ndarray, "..."]], None],
    ) -> UInt8[np.ndarray, "t ..."]:
        places, parts = (
            defaultdict[int, list[int]](list),
            np.empty((len(asked), *size), np.uint8),
        )
        for place, rank in enumerate(asked):
            places[rank].append(place)
        for rank, frame in self._track.pictures(frozenset(places)):
            first, *others = places.pop(rank)
            write(self._shape_of(rank, frame), frame, parts[first])
            for place in others:
                parts[place] = parts[first]
            if not places:
                return parts
        raise ValueError(self._absent(max(places)))

    def _absent(self, rank: int) -> str:
        count = len(self._track.seconds)
        if rank < count:
            return f"{self._name}: frame {rank} of {count} does not decode"
        return f"{self._name}: frame {rank} was asked for, counted from 0; {count} frames decode"

    @cached_property
    def _shape(self) -> Shape:
        if (size := self._track.size) is not None:
            return Shape.of_size(*size, self._track.pixel_ratio)
        for _, frame in self._track.pictures(frozenset([0])):
            return Shape.of(frame, self._track.pixel_ratio)
        raise ValueError(self._absent(0))

    def _shape_of(self, rank: int, frame: VideoFrame) -> Shape:
        """How this frame becomes one of the size of all.

        Raises:
            ValueError: an image of another size than the first one, or colors that FFmpeg does not convert.
        """
        if reason := unknown_colors(frame):
            raise ValueError(f"{self._name}: {reason}")
        if not self._each_may_differ:
            return self._shape
        shape, wanted = Shape.of(frame, self._track.pixel_ratio), self._shape.upright
        if isinstance(self._track, ImageTrack) and shape.upright != wanted:
            raise ValueError(
                f"{self._track.paths[rank]}: shows {_size(shape.upright)} pixels, and the first image "
                f"{_size(wanted)}: the images of one video have one size; convert them, or move the others away"
            )
        return shape.scaled(wanted)

    @cached_property
    def _each_may_differ(self) -> bool:
        """Whether each picture says how it is turned."""
        return self._track.size is None

    def _box(self, part: Part) -> Box:
        height, width = self._shape.upright
        if part is None:
            return Box(0, 0, height, width)
        box = part if isinstance(part, Box) else part(height, width)
        if (
            min(box) < 0
            or 0 in box[2:]
            or box.top + box.height > height
            or box.left + box.width > width
        ):
            raise ValueError(
                f"{self._name}: {box} is not within its frames of {height} x {width} pixels"
            )
        return box


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def _grown(box: Box) -> tuple[Box, Box]:
    """The smallest box around ``box`` with even edges, and ``box`` inside it."""
    top, left = box.top % 2, box.left % 2
    height, width = box.height + top, box.width + left
    grown = Box(box.top - top, box.left - left, height + height % 2, width + width % 2)
    return grown, Box(top, left, box.height, box.width)


def _layout(box: Box) -> list[_Place]:
    """What a box with even edges shows of each plane, the size of that, and its place in a row."""
    half, area = Box(*(side // 2 for side in box)), box.height * box.width
    places = (
        slice(0, area),
        slice(area, area * 5 // 4),
        slice(area * 5 // 4, area * 3 // 2),
    )
    return [
        (_slices(part), (part.height, part.width), place)
        for part, place in zip((box, half, half), places, strict=True)
    ]


def _fill(out: UInt8[np.ndarray, "h w"], part: UInt8[np.ndarray, "h2 w2"]) -> None:
    """With the part; beyond the end of an odd plane its last row and column are doubled."""
    height, width = part.shape
    out[:height, :width] = part
    if part.shape != out.shape:
        out[height:, :width] = part[-1:]
        out[:, width:] = out[:, width - 1 : width]
