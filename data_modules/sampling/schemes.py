"""Which frames of a video a clip shows: pure functions of its length.

All schemes take any video of one frame or more; a video shorter than the clip repeats frames. What is random comes
from the generator that is given, so a clip is a function of its key. Formulas of single papers that differ from
these by a frame are in :mod:`data_modules.sampling.papers`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

Padding = Literal["repeat_last", "loop"]
Spacing = Literal["ends", "centres"]


class Length(NamedTuple):
    """How long a video is.

    Attributes:
        num_frames: F.
        fps: mean frames a second, 0 where it is not known; only the schemes in seconds look at it.
    """

    num_frames: int
    fps: float


class Sampling(ABC):
    """A rule from the length of a video to frame indices in [0, F).

    Attributes:
        num_frames: frames of a clip, T.
        in_seconds: indices count the ticks of an even clock of f ticks a second, which are the frames where these
            come evenly.
    """

    num_frames: int
    in_seconds: ClassVar[bool] = False

    @abstractmethod
    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """One clip drawn at random."""

    @abstractmethod
    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """The ``views`` clips of evaluation; nothing is drawn."""


@dataclass(frozen=True)
class SegmentSampling(Sampling):
    """One frame from each of T equal segments [jF/T, (j+1)F/T) (TSN; Wang et al., arXiv 1608.00859, sec. 3.1).

    Training draws a frame of each segment. Evaluation takes the fraction (k+1)/(K+1) of each segment for view k
    of K: the centre for one view. With F < T segments share frames by rounding. Indices rise or stay.

    Args:
        num_frames: T.
    """

    num_frames: int = 8

    def __post_init__(self) -> None:
        positive("num_frames", self.num_frames)

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Uniform over the whole frames from floor(jF/T) up to floor((j+1)F/T), at least one."""
        positive("num_frames of the video", length.num_frames)
        edges = np.arange(self.num_frames + 1) * length.num_frames // self.num_frames
        return generator.integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1))

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """floor((j + (k+1)/(K+1)) F/T), in whole numbers."""
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        segment, view = np.arange(self.num_frames), np.arange(1, views + 1)[:, None]
        return (
            (segment * (views + 1) + view)
            * length.num_frames
            // (self.num_frames * (views + 1))
        )


@dataclass(frozen=True)
class WindowSampling(Sampling, ABC):
    """T frames at offsets o_0 = 0, ..., o_(T-1) from a start, all inside the video where it is long enough.

    Training draws the start from [0, F - span], span = o_(T-1) + 1. Evaluation spaces K starts over the same range.

    Args:
        num_frames: T.
        padding: where the video is shorter than the span, its last frame is repeated, or it starts again.
        spacing: of K starts. ``ends``: floor(k (F - span) / (K - 1)), from the first to the last (SlowFast,
            arXiv 1812.03982), the middle for one view. ``centres``: the middles of K equal parts of the range.
    """

    num_frames: int = 8
    padding: Padding = field(default="repeat_last", kw_only=True)
    spacing: Spacing = field(default="ends", kw_only=True)

    def __post_init__(self) -> None:
        positive("num_frames", self.num_frames)

    @abstractmethod
    def offsets(self, fps: float) -> Int64[np.ndarray, " t"]:
        """Frames from the start to each frame of the clip, in a video of ``fps`` frames a second."""

    def span(self, fps: float) -> int:
        """Frames that a clip covers."""
        return int(self.offsets(fps)[-1]) + 1

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """The start is uniform over every place where the clip fits."""
        start = generator.integers(self._slack(length), endpoint=True)
        return self._clips(np.asarray(start), length)

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Starts as ``spacing`` says."""
        positive("views", views)
        slack, view = self._slack(length), np.arange(views)
        if self.spacing == "centres":
            starts = (2 * view + 1) * (slack + 1) // (2 * views)
        else:
            starts = (
                view * slack // (views - 1) if views > 1 else np.array([slack // 2])
            )
        return self._clips(starts[:, None], length)

    def _slack(self, length: Length) -> int:
        positive("num_frames of the video", length.num_frames)
        return max(length.num_frames - self.span(length.fps), 0)

    def _clips(
        self, start: Int64[np.ndarray, "..."], length: Length
    ) -> Int64[np.ndarray, "... t"]:
        indices = start + self.offsets(length.fps)
        if self.padding == "loop":
            return indices % length.num_frames
        return np.minimum(indices, length.num_frames - 1)


@dataclass(frozen=True)
class DenseSampling(WindowSampling):
    """T frames at a fixed stride, s: o_j = j s (I3D, Carreira and Zisserman, arXiv 1705.07750).

    Args:
        num_frames: T.
        stride: s, frames of the video from one frame of the clip to the next.
        padding: see :class:`WindowSampling`.
        spacing: see :class:`WindowSampling`.
    """

    stride: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("stride", self.stride)

    def offsets(self, fps: float) -> Int64[np.ndarray, " t"]:
        """j s, at any frame rate."""
        return np.arange(self.num_frames) * self.stride


@dataclass(frozen=True)
class FpsSampling(WindowSampling):
    """T frames at a fixed rate r: o_j = floor(j f / r) in a video of f frames a second, its mean.

    A rate above that of the video repeats frames.

    Args:
        num_frames: T.
        fps: r, frames of the clip in a second of the video.
        padding: see :class:`WindowSampling`.
        spacing: see :class:`WindowSampling`.
    """

    fps: float = 4.0
    in_seconds = True

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero("fps", self.fps)

    def offsets(self, fps: float) -> Int64[np.ndarray, " t"]:
        """floor(j f / r)."""
        above_zero("fps of the video", fps)
        return whole_frames(np.arange(self.num_frames) * fps / self.fps)


@dataclass(frozen=True)
class SecondsSampling(WindowSampling):
    """T frames evenly over a window of D seconds: o_j = floor(j f D / T) in a video of f frames a second, its mean.

    Args:
        num_frames: T.
        seconds: D.
        padding: see :class:`WindowSampling`.
        spacing: see :class:`WindowSampling`.
    """

    seconds: float = 2.0
    in_seconds = True

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero("seconds", self.seconds)

    def offsets(self, fps: float) -> Int64[np.ndarray, " t"]:
        """floor(j f D / T)."""
        above_zero("fps of the video", fps)
        return whole_frames(
            np.arange(self.num_frames) * fps * self.seconds / self.num_frames
        )


def whole_frames(positions: Float64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
    """Floor, where a position within 1e-6 below a frame is that frame: 30000/1001 fps are no round number."""
    return np.floor(positions + 1e-6).astype(np.int64)


def positive(name: str, value: int) -> None:
    """Raise ValueError where a count is below 1."""
    if value < 1:
        raise ValueError(f"{name}: expected 1 or more, got {value}")


def above_zero(name: str, value: float) -> None:
    """Raise ValueError where a rate or duration is not above 0."""
    if not value > 0:
        raise ValueError(f"{name}: expected more than 0, got {value}")
