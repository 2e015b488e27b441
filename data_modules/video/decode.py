"""Decode the frames of a video file or of a folder of images.

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
from einops import rearrange
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from data_modules.transforms.crops import Box
from data_modules.video.color import Planes
from data_modules.video.demux import opened
from data_modules.video.images import ImageTrack
from data_modules.video.picture import (
    Colors,
    Picture,
    Shape,
    read_image,
    unknown_colors,
)
from data_modules.video.planes import PlaneLayout, slices_of
from data_modules.video.source import Source
from data_modules.video.track import FileTrack, OutOfOrder

Indices: TypeAlias = Sequence[int] | Int64[np.ndarray, " t"]
# Writes what is wanted of one picture into its row.
_Write: TypeAlias = Callable[[Shape, Picture, UInt8[np.ndarray, "..."]], None]
# A part of each frame, or a function of the height and the width of frames; None is all of it.
Region: TypeAlias = Box | Callable[[int, int], Box] | None


class VideoInfo(NamedTuple):
    """Say what a file holds.

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


class TimedFrames(NamedTuple):
    """Hold frames of one video.

    Attributes:
        pixels: RGB, 0-255; channels lie last in memory.
        seconds: presentation time of each, from that of the video's first frame.
    """

    pixels: UInt8[Tensor, "t c h w"]
    seconds: Float64[Tensor, " t"]


def probe(path: str | Path | Source) -> VideoInfo:
    """Return what the file holds. Errors as in :func:`open_video`."""
    with open_video(path) as video:
        return video.info()


def decode(path: str | Path | Source, indices: Indices) -> UInt8[Tensor, "t c h w"]:
    """Return the frames at ``indices``, RGB, 0-255. Errors as in :func:`open_video` and :meth:`VideoReader.frames`."""
    with open_video(path) as video:
        return video.frames(indices).pixels


@contextmanager
def open_video(
    path: str | Path | Source,
    *,
    sequential: bool = False,
    image_fps: int | float = 12,
) -> Generator["VideoReader"]:
    """Open a video, and close it at the end of the ``with`` block.

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
        images = ImageTrack(source.path, read_image, fps=image_fps)
        yield VideoReader(images, str(source))
        return
    if not source.path.is_file():
        raise FileNotFoundError(f"{source}: no such video file")
    with opened(source) as container:
        track = FileTrack(container, source, sequential=sequential)
        yield VideoReader(track, str(source))


class VideoReader:
    """Read frames of an open file or folder, upright and with square pixels."""

    def __init__(self, track: FileTrack | ImageTrack[Picture], name: str) -> None:
        self._track = track
        self._name = name

    @property
    def num_frames(self) -> int:
        """Return how many frames can be shown.

        Raises:
            ValueError: no frame decodes.
        """
        if not len(self._track.seconds):
            raise ValueError(f"{self._name}: holds no frame that decodes")
        return len(self._track.seconds)

    @property
    def fps(self) -> float:
        """Return mean frames a second."""
        return self._track.fps

    @property
    def seconds(self) -> Float64[np.ndarray, " t"]:
        """Return when each frame is shown, from the first one."""
        return self._track.seconds

    @property
    def height(self) -> int:
        """Return the height of the frames, pixels."""
        return self._shape.upright[0]

    @property
    def width(self) -> int:
        """Return the width of the frames, pixels."""
        return self._shape.upright[1]

    def info(self) -> VideoInfo:
        """Return counts, rate and size. Decodes the first frame where the header does not tell all."""
        count = self.num_frames
        fps = self.fps
        return VideoInfo(
            count,
            fps,
            count / fps,
            self.height,
            self.width,
            self._track.codec,
            self._track.keyframes,
            self._track.note,
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
        """Return the frame that is shown at each time, seconds from the first frame; before it the first.

        Example: of frames at 0, 0.5 and 1 s, the times -1, 0.7 and 9 s show the frames 0, 1 and 2.
        """
        times = np.asarray(seconds, np.float64)
        later = np.searchsorted(self._track.seconds, times, side="right")
        return np.clip(later - 1, 0, self.num_frames - 1)

    def at_ticks(self, ticks: Int64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
        """Return the frames that are shown in the middle of these ticks of an even clock of ``fps`` ticks a second."""
        return self.ranks((ticks + 0.5) / self.fps)

    def frames(self, indices: Indices, box: Region = None) -> TimedFrames:
        """Return frames as RGB in the order of ``indices``, which may repeat.

        Args:
            indices: ranks in presentation order, from 0.
            box: the part that is wanted of each frame, or a function that is asked for it once, with the height and the
                width that the first decoded frame shows; by default all of it.

        Raises:
            ValueError: an index below 0, or at or above the number of frames; a box beyond the frame; damaged data;
                colors that FFmpeg does not convert; images of several sizes.
        """
        box = self._box(box)

        rows, columns = slices_of(box)

        def write(
            shape: Shape, frame: Picture, row: UInt8[np.ndarray, "h w 3"]
        ) -> None:
            row[:] = shape.rgb(frame)[rows, columns]

        pixels = self._gather(indices, (box.height, box.width, 3), write)
        seconds = self._track.seconds[np.asarray(indices)]
        return TimedFrames(
            rearrange(torch.from_numpy(pixels), "t h w c -> t c h w"),
            torch.from_numpy(seconds),
        )

    def planes(self, indices: Indices, box: Region = None) -> Planes:
        """Return frames as the decoder gives them, for :func:`~data_modules.video.color.to_rgb`; see :meth:`frames`."""
        layout = PlaneLayout(self._box(box))
        colors: list[Colors] = []

        def write(
            shape: Shape, frame: Picture, row: UInt8[np.ndarray, " n"]
        ) -> None:
            # A clip has the colors of the first frame that is decoded.
            yuv = shape.yuv(frame, colors[0] if colors else None)
            colors.append(yuv.colors)
            layout.write(yuv.planes, row)

        data = self._gather(indices, (layout.size,), write)
        grown = layout.grown
        return Planes(
            torch.from_numpy(data),
            grown.height,
            grown.width,
            layout.inside,
            *colors[0],
        )

    def _gather(
        self,
        indices: Indices,
        size: tuple[int, ...],
        write: _Write,
    ) -> UInt8[np.ndarray, "t ..."]:
        """Return what ``write`` writes of each frame; each is decoded once."""
        asked = [int(index) for index in indices]
        if not asked or min(asked) < 0:
            raise ValueError(
                f"{self._name}: frame indices are one "
                f"or more numbers from 0 on, got {asked}"
            )
        try:
            return self._gathered(asked, size, write)
        except OutOfOrder:
            # What was written may be of other frames; from now on the track takes frames as they come.
            return self._gathered(asked, size, write)

    def _gathered(
        self,
        asked: list[int],
        size: tuple[int, ...],
        write: _Write,
    ) -> UInt8[np.ndarray, "t ..."]:
        parts = np.empty((len(asked), *size), np.uint8)
        places = defaultdict[int, list[int]](list)
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
        ratio = self._track.pixel_ratio
        if (size := self._track.size) is not None:
            return Shape.of_size(*size, ratio)
        for _, frame in self._track.pictures(frozenset([0])):
            return Shape.of(frame, ratio)
        raise ValueError(self._absent(0))

    def _shape_of(self, rank: int, frame: Picture) -> Shape:
        """Return how this frame becomes one of the size of all.

        Raises:
            ValueError: an image of another size than the first one, or colors that FFmpeg does not convert.
        """
        if reason := unknown_colors(frame):
            raise ValueError(f"{self._name}: {reason}")
        if not self._each_may_differ:
            return self._shape
        shape = Shape.of(frame, self._track.pixel_ratio)
        wanted = self._shape.upright
        if isinstance(self._track, ImageTrack) and shape.upright != wanted:
            raise ValueError(
                f"{self._track.paths[rank]}: shows "
                f"{_size(shape.upright)} pixels, and the first image "
                f"{_size(wanted)}: the images of one video have "
                "one size; convert them, or move the others away"
            )
        return shape.scaled(wanted)

    @cached_property
    def _each_may_differ(self) -> bool:
        """Tell whether each picture says how it is turned."""
        return self._track.size is None

    def _box(self, part: Region) -> Box:
        height, width = self._shape.upright
        if part is None:
            return Box(0, 0, height, width)
        box = part if isinstance(part, Box) else part(height, width)
        is_empty = min(box) < 0 or 0 in (box.height, box.width)
        bottom = box.top + box.height
        right = box.left + box.width
        if is_empty or bottom > height or right > width:
            raise ValueError(
                f"{self._name}: {box} is not within its "
                f"frames of {height} x {width} pixels"
            )
        return box


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
