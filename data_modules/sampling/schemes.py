"""Which frames of a video a clip shows: pure functions of its length.

All schemes take any video of one frame or more; a video shorter than the clip repeats
frames. What is random comes from the generator that is given, so a clip is a function
of its key. Formulas of single papers that differ from these by a frame are in
:mod:`data_modules.sampling.papers`. With 4 frames of a video of 16::

    frame                  0 1 2 3 4 5 6 7 8 9 a b c d e f
    segments, evaluation       x       x       x       x
    segments, training       x |   x   |x      |      x
    dense, stride 2              x   x   x   x
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

Padding = Literal["repeat_last", "loop"]
Spacing = Literal["ends", "centres"]


class Length(NamedTuple):
    """Hold how long a video is.

    Attributes:
        num_frames: F.
        fps: mean frames a second, 0 where it is not known; only the schemes in seconds
            look at it.
    """

    num_frames: int
    fps: float


class Sampling(ABC):
    """Map the length of a video to frame indices in [0, F).

    Attributes:
        num_frames: frames of a clip, T.
        in_seconds: indices count the ticks of an even clock of f ticks a second, which
            are the frames where these come evenly.
    """

    num_frames: int
    in_seconds: ClassVar[bool] = False

    @abstractmethod
    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Return the frames of one clip drawn at random."""

    @abstractmethod
    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return the frames of the ``views`` clips of evaluation; nothing is drawn."""


@dataclass(frozen=True)
class SegmentSampling(Sampling):
    """Take one frame from each of T equal segments [jF/T, (j+1)F/T).

    It is TSN's rule (Wang et al., arXiv 1608.00859, sec. 3.1). Training draws a frame
    of each segment. Evaluation takes the fraction (k+1)/(K+1) of each segment for view
    k of K: the center for one view. With F < T segments share frames by rounding.
    Indices rise or stay.

    >>> SegmentSampling(4).test(Length(16, 25.0), views=1)
    array([[ 2,  6, 10, 14]])
    >>> SegmentSampling(4).test(Length(16, 25.0), views=3)
    array([[ 1,  5,  9, 13],
           [ 2,  6, 10, 14],
           [ 3,  7, 11, 15]])
    >>> SegmentSampling(4).test(Length(2, 25.0), views=1)
    array([[0, 0, 1, 1]])

    Args:
        num_frames: T.
    """

    num_frames: int = 8

    def __post_init__(self) -> None:
        positive("num_frames", self.num_frames)

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Draw from the frames floor(jF/T) to floor((j+1)F/T) - 1, uniformly.

        Where a segment holds no whole frame, it is floor(jF/T).
        """
        positive("num_frames of the video", length.num_frames)
        edges = (
            np.arange(self.num_frames + 1) * length.num_frames // self.num_frames
        )
        return generator.integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1))

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return floor((j + (k+1)/(K+1)) F/T)."""
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        segment = np.arange(self.num_frames)
        view = np.arange(1, views + 1)[:, None]
        # one division of whole numbers: floating point is a frame off at some lengths
        parts = segment * (views + 1) + view
        return parts * length.num_frames // (self.num_frames * (views + 1))


@dataclass(frozen=True)
class WindowSampling(Sampling, ABC):
    """Take T frames at offsets o_0 = 0, ..., o_(T-1) from a start.

    All are inside the video where it is long enough. Training draws the start from
    [0, F - span], span = o_(T-1) + 1. Evaluation spaces K starts over the same range.

    Args:
        num_frames: T.
        padding: where the video is shorter than the span, its last frame is repeated,
            or it starts again.
        spacing: of K starts. ``ends``: floor(k (F - span) / (K - 1)), from the first to
            the last (SlowFast, arXiv 1812.03982), the middle for one view. ``centres``:
            the middles of K equal parts of the range.
    """

    num_frames: int = 8
    padding: Padding = field(default="repeat_last", kw_only=True)
    spacing: Spacing = field(default="ends", kw_only=True)

    def __post_init__(self) -> None:
        positive("num_frames", self.num_frames)

    @abstractmethod
    def offsets(self, fps: float) -> Int64[np.ndarray, " t"]:
        """Return the frames from the start to each frame of the clip.

        ``fps`` are the frames of the video a second.
        """

    def span(self, fps: float) -> int:
        """Return how many frames of the video a clip covers."""
        return int(self.offsets(fps)[-1]) + 1

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Draw the start uniformly from every place where the clip fits."""
        start = generator.integers(self._slack(length), endpoint=True)
        return self._clips(np.asarray(start), length)

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return the clips at the starts that ``spacing`` gives."""
        positive("views", views)
        slack = self._slack(length)
        view = np.arange(views)
        if self.spacing == "centres":
            starts = (2 * view + 1) * (slack + 1) // (2 * views)
        elif views > 1:
            starts = view * slack // (views - 1)
        else:
            starts = np.array([slack // 2])
        return self._clips(starts[:, None], length)

    def _slack(self, length: Length) -> int:
        """Return the last start at which the clip is inside the video, at least 0."""
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
    """Take T frames at a fixed stride s: o_j = j s.

    It is the rule of I3D (Carreira and Zisserman, arXiv 1705.07750).

    >>> DenseSampling(num_frames=4, stride=2).test(Length(11, 25.0), views=3)
    array([[ 0,  2,  4,  6],
           [ 2,  4,  6,  8],
           [ 4,  6,  8, 10]])
    >>> DenseSampling(num_frames=4, stride=2).test(Length(5, 25.0), views=1)
    array([[0, 2, 4, 4]])
    >>> DenseSampling(4, stride=2, padding="loop").test(Length(5, 25.0), views=1)
    array([[0, 2, 4, 1]])

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
        """Return j s, at any frame rate."""
        return np.arange(self.num_frames) * self.stride


@dataclass(frozen=True)
class FpsSampling(WindowSampling):
    """Take T frames at a fixed rate r: o_j = floor(j f / r).

    f are the mean frames of the video a second. A rate above that of the video repeats
    frames.

    >>> FpsSampling(num_frames=4, fps=10.0).offsets(25.0)
    array([0, 2, 5, 7])

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
        """Return floor(j f / r)."""
        above_zero("fps of the video", fps)
        return whole_frames(np.arange(self.num_frames) * fps / self.fps)


@dataclass(frozen=True)
class SecondsSampling(WindowSampling):
    """Take T frames evenly over a window of D seconds: o_j = floor(j f D / T).

    f are the mean frames of the video a second.

    >>> SecondsSampling(num_frames=4, seconds=2.0).offsets(25.0)
    array([ 0, 12, 25, 37])

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
        """Return floor(j f D / T)."""
        above_zero("fps of the video", fps)
        frame = np.arange(self.num_frames)
        return whole_frames(frame * fps * self.seconds / self.num_frames)


def whole_frames(positions: Float64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
    """Return the floor of positions; one within 1e-6 below a frame is that frame.

    Rates such as 30000/1001 are no floating point number, so that a position which is a
    whole frame by the formula may come out just below it.
    """
    return np.floor(positions + 1e-6).astype(np.int64)


def positive(name: str, value: int) -> None:
    """Refuse a count below 1 by ValueError."""
    if value < 1:
        raise ValueError(f"{name}: expected 1 or more, got {value}")


def above_zero(name: str, value: float) -> None:
    """Refuse a rate or duration that is not above 0 by ValueError."""
    if not value > 0:  # NaN too
        raise ValueError(f"{name}: expected more than 0, got {value}")
