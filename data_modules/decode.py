"""Video files to frames. Only this file and ``encode.py`` import av.

A frame is named by its rank in presentation order, from 0; time stamps, which may be missing or uneven, play no
part. One codec thread per video: clips are read in parallel, frames of one clip are not.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from einops import rearrange
from jaxtyping import Int64, UInt8
from torch import Tensor

VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov"})

# A packet of these holds one shown frame. Others (VP8's hidden frames, XviD's packed ones) are counted by decoding.
_ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "vp9", "av1"})


class VideoInfo(NamedTuple):
    """What a file holds.

    Attributes:
        num_frames: frames that can be shown, counted in the file; its header is not believed.
        fps: mean frames a second.
        duration: num_frames / fps, seconds.
        height: of the upright frame, pixels.
        width: of the upright frame, pixels.
    """

    num_frames: int
    fps: float
    duration: float
    height: int
    width: int


def probe(path: str | Path) -> VideoInfo:
    """What the file holds. Errors as in :func:`open_video`."""
    with open_video(path) as video:
        return video.info()


def decode(path: str | Path, indices: Sequence[int] | Int64[np.ndarray, " t"]) -> UInt8[Tensor, "t c h w"]:
    """The frames at ``indices``, as :meth:`Video.frames`. Errors as in :func:`open_video`."""
    with open_video(path) as video:
        return video.frames(indices)


@contextmanager
def open_video(path: str | Path) -> Generator["Video"]:
    """An open video, closed again at the end of the ``with`` block.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a video, damaged, or without a frame that decodes; names the file and the reason.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such video file")
    try:
        with av.open(str(path), metadata_errors="ignore") as container:  # titles in any encoding
            yield Video(container, str(path))
    except FFmpegError as error:
        raise ValueError(f"{path}: cannot be read as a video: {error.strerror}") from error


class Video:
    """The video track of an open file; its compressed packets are read once and kept."""

    def __init__(self, container: InputContainer, name: str) -> None:
        if not container.streams.video:
            raise ValueError(f"{name}: holds no video track")
        self._name = name
        self._stream = container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        self._packets = [packet for packet in container.demux(self._stream) if packet.size]

    @cached_property
    def num_frames(self) -> int:
        """Frames that can be shown."""
        if self._stream.codec_context.name in _ONE_FRAME_A_PACKET:
            count = sum(not packet.is_discard for packet in self._packets)
        else:
            count = sum(1 for _ in self._decoded())
        if not count:
            raise ValueError(f"{self._name}: holds no frame that decodes")
        return count

    @property
    def fps(self) -> float:
        """Mean frames a second; 0 where the file states none."""
        return float(self._stream.average_rate or self._stream.guessed_rate or 0)

    def info(self) -> VideoInfo:
        """Counts, rate and upright size; decodes the first frame."""
        if not self.fps:
            raise ValueError(f"{self._name}: states no frame rate")
        height, width = self.frames([0]).shape[-2:]
        return VideoInfo(self.num_frames, self.fps, self.num_frames / self.fps, height, width)

    def frames(self, indices: Sequence[int] | Int64[np.ndarray, " t"]) -> UInt8[Tensor, "t c h w"]:
        """RGB (0-255), upright, in the order of ``indices``, which may repeat. Channels lie last in memory.

        Raises:
            ValueError: an index below 0, or at or above the number of frames that decode.
        """
        ranks = [int(index) for index in indices]
        if not ranks or min(ranks) < 0:
            raise ValueError(f"{self._name}: frame indices are one or more numbers from 0 on, got {ranks}")
        pictures = self._pictures(frozenset(ranks))
        return rearrange(torch.from_numpy(np.stack([pictures[rank] for rank in ranks])), "t h w c -> t c h w")

    def _pictures(self, wanted: frozenset[int]) -> dict[int, UInt8[np.ndarray, "h w c"]]:
        pictures: dict[int, UInt8[np.ndarray, "h w c"]] = {}
        seen = 0
        for rank, frame in enumerate(self._decoded()):
            if rank in wanted:
                pictures[rank] = _picture(frame)
            if len(pictures) == len(wanted):
                return pictures
            seen = rank + 1
        raise ValueError(f"{self._name}: frame {max(wanted)} was asked for, counted from 0; {seen} frames decode")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        self._stream.codec_context.flush_buffers()  # an earlier pass may have stopped anywhere
        for packet in self._packets:
            yield from packet.decode()
        yield from self._stream.decode(None)


class _Converter(threading.local):
    """One per thread: a new scaler for every frame costs three times the conversion itself."""

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()


_CONVERTER = _Converter()


def _picture(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w c"]:
    rgb = _CONVERTER.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return np.rot90(rgb, round(frame.rotation / 90)).astype(np.uint8, copy=False)  # both count anticlockwise
