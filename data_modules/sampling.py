"""Which frames of a video a clip shows: pure functions of the number of frames.

Both schemes take any video of one frame or more; a video shorter than the clip repeats frames, in order.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


class Sampling(ABC):
    """A rule from the number of frames F of a video to frame indices in [0, F), rising or equal.

    Attributes:
        num_frames: frames of a clip, T.
    """

    num_frames: int

    @abstractmethod
    def train(self, num_video_frames: int, generator: np.random.Generator) -> Int64[np.ndarray, " t"]:
        """One clip drawn at random."""

    @abstractmethod
    def test(self, num_video_frames: int, views: int) -> Int64[np.ndarray, "v t"]:
        """The ``views`` clips of evaluation; nothing is drawn."""


@dataclass(frozen=True)
class SegmentSampling(Sampling):
    """One frame from each of T equal segments [jF/T, (j+1)F/T) (TSN; Wang et al., arXiv 1608.00859, sec. 3.1).

    Training draws a frame of each segment. Evaluation takes the fraction (k+1)/(K+1) of each segment for view k
    of K: the centre for one view. With F < T segments share frames by rounding.

    Args:
        num_frames: T.
    """

    num_frames: int = 8

    def __post_init__(self) -> None:
        _positive("num_frames", self.num_frames)

    def train(self, num_video_frames: int, generator: np.random.Generator) -> Int64[np.ndarray, " t"]:
        """Uniform over the whole frames from floor(jF/T) up to floor((j+1)F/T), at least one."""
        _positive("num_video_frames", num_video_frames)
        edges = np.arange(self.num_frames + 1) * num_video_frames // self.num_frames
        return generator.integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1))

    def test(self, num_video_frames: int, views: int) -> Int64[np.ndarray, "v t"]:
        """floor((j + (k+1)/(K+1)) F/T), in whole numbers."""
        _positive("num_video_frames", num_video_frames)
        _positive("views", views)
        segment, view = np.arange(self.num_frames), np.arange(1, views + 1)[:, None]
        return (segment * (views + 1) + view) * num_video_frames // (self.num_frames * (views + 1))


@dataclass(frozen=True)
class DenseSampling(Sampling):
    """T frames at a fixed stride, s (I3D, Carreira and Zisserman, arXiv 1705.07750; views as in SlowFast, 1812.03982).

    index_j = min(start + j s, F - 1): a short video repeats its last frame. Training draws the start from
    [0, F - span], span = (T - 1) s + 1; evaluation spaces K starts evenly over it, the middle for one view.

    Args:
        num_frames: T.
        stride: s, frames of the video from one frame of the clip to the next.
    """

    num_frames: int = 8
    stride: int = 8

    def __post_init__(self) -> None:
        _positive("num_frames", self.num_frames)
        _positive("stride", self.stride)

    def train(self, num_video_frames: int, generator: np.random.Generator) -> Int64[np.ndarray, " t"]:
        """The start is uniform over every place where the clip fits."""
        start = generator.integers(self._slack(num_video_frames), endpoint=True)
        return self._clip(np.asarray(start), num_video_frames)

    def test(self, num_video_frames: int, views: int) -> Int64[np.ndarray, "v t"]:
        """Starts floor(k (F - span) / (K - 1)), or floor((F - span) / 2) for K = 1."""
        _positive("views", views)
        slack = self._slack(num_video_frames)
        starts = np.arange(views) * slack // (views - 1) if views > 1 else np.array([slack // 2])
        return self._clip(starts[:, None], num_video_frames)

    def _slack(self, num_video_frames: int) -> int:
        _positive("num_video_frames", num_video_frames)
        return max(num_video_frames - 1 - (self.num_frames - 1) * self.stride, 0)

    def _clip(self, start: Int64[np.ndarray, "..."], num_video_frames: int) -> Int64[np.ndarray, "... t"]:
        return np.minimum(start + np.arange(self.num_frames) * self.stride, num_video_frames - 1)


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: expected 1 or more, got {value}")
