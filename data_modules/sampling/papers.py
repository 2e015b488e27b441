"""Frame indices exactly as the code of single papers takes them.

They differ from the plain schemes by some frames. F are the frames of the video, T
those of a clip, K the views; s = (F - 1) / T below; round is to the nearest, halves to
even, in double precision as published.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from data_modules.sampling.schemes import (
    DenseSampling,
    Length,
    Padding,
    Sampling,
    SegmentSampling,
    Spacing,
    positive,
)


@dataclass(frozen=True)
class RoundedSegmentSampling(Sampling):
    """Take one frame of segments that share their ends: [round(j s), round((j+1) s)].

    It is SlowFast's rule for Something-Something, and through it that of ST-Adapter
    (arXiv 2206.13559) on SSv2 and of AIM (arXiv 2302.03024) on SSv2 and Diving48. They
    take one temporal view; more divide each segment evenly. Of 16 frames and T = 4 the
    ends are 0 4 8 11 15:

    >>> RoundedSegmentSampling(4).test(Length(16, 25.0), views=1)
    array([[ 2,  6,  9, 13]])

    Args:
        num_frames: T.
    """

    num_frames: int = 8

    def __post_init__(self) -> None:
        positive("num_frames", self.num_frames)

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Draw a frame of each segment uniformly, both of its ends among them."""
        edges = self._edges(length)
        return generator.integers(edges[:-1], edges[1:], endpoint=True)

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return a + floor((k+1)(b - a)/(K+1)) of each segment [a, b].

        For K = 1 that is floor((a + b)/2).
        """
        positive("views", views)
        edges = self._edges(length)
        view = np.arange(1, views + 1)[:, None]
        return edges[:-1] + view * np.diff(edges) // (views + 1)

    def _edges(self, length: Length) -> Int64[np.ndarray, " edges"]:
        positive("num_frames of the video", length.num_frames)
        segment = (length.num_frames - 1) / self.num_frames
        return _rounded(np.arange(self.num_frames + 1) * segment)


@dataclass(frozen=True)
class Side4VideoKineticsSampling(RoundedSegmentSampling):
    """Sample as Side4Video (arXiv 2311.15769) does on Kinetics.

    It trains on rounded segments, and tests from the beginnings of plain ones on.

    >>> Side4VideoKineticsSampling(4).test(Length(16, 25.0), views=2)
    array([[ 0,  4,  8, 12],
           [ 3,  7, 11, 15]])

    Args:
        num_frames: T.
    """

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return floor(a_k + jF/T), where a_k = floor(k (F/T - 1)/(K - 1)).

        a_0 is 0, and with F < T all a_k are 0.
        """
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        segment = length.num_frames / self.num_frames
        starts = np.floor(np.linspace(0, max(segment - 1, 0), views))
        positions = starts[:, None] + segment * np.arange(self.num_frames)
        return np.floor(positions).astype(np.int64)


@dataclass(frozen=True)
class Side4VideoSomethingSampling(SegmentSampling):
    """Sample as Side4Video (arXiv 2311.15769) does on Something-Something V1 and V2.

    Args:
        num_frames: T.
    """

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Draw as TSN does from more than T frames.

        A video of F <= T frames shows all of them, and T - F random ones again, in
        order.
        """
        if length.num_frames > self.num_frames:
            return super().train(length, generator)
        positive("num_frames of the video", length.num_frames)
        missing = self.num_frames - length.num_frames
        again = generator.integers(length.num_frames, size=missing)
        return np.sort(np.concatenate([np.arange(length.num_frames), again]))

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return round(j s) + floor((k+1) s/(K+1))."""
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        segment = (length.num_frames - 1) / self.num_frames
        shifts = np.floor(segment / (views + 1) * np.arange(1, views + 1))
        starts = _rounded(segment * np.arange(self.num_frames))
        return starts + shifts.astype(np.int64)[:, None]


@dataclass(frozen=True)
class Side4VideoRetrievalSampling(SegmentSampling):
    """Sample as Side4Video (arXiv 2311.15769) does on MSR-VTT and MSVD.

    Every d-th frame, d = floor(F/T), is thinned to T. Its code trains on VATEX in the
    same way, and tests there as :class:`SegmentSampling`. It reads no video of fewer
    than T frames; here such a video shows frames again.

    >>> Side4VideoRetrievalSampling(4).test(Length(18, 25.0), views=1)
    array([[ 0,  4,  8, 16]])

    Args:
        num_frames: T.
    """

    num_frames: int = 12

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Draw from [j d, (j+1) d) uniformly; as TSN does where F < T.

        The last F - T d frames are never seen.
        """
        whole = length.num_frames // self.num_frames * self.num_frames
        seen = length._replace(num_frames=whole or length.num_frames)
        return super().train(seen, generator)

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return the frames floor(j (n-1)/(T-1)) of the n frames a_k, a_k + d, ... < F.

        a_k is floor(k d/K), and a_0 is 0.
        """
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        step = max(length.num_frames // self.num_frames, 1)
        clips = list[Int64[np.ndarray, " t"]]()
        for view in range(views):
            frames = np.arange(view * step // views, length.num_frames, step)
            last = len(frames) - 1
            clips.append(
                frames[np.linspace(0, last, self.num_frames, dtype=np.int64)]
            )
        return np.stack(clips)


@dataclass(frozen=True)
class AIMKineticsSampling(DenseSampling):
    """Sample as AIM (arXiv 2302.03024) does on Kinetics, which is MMAction's rule.

    A clip covers T s frames, those after its last one too.

    Args:
        num_frames: T.
        stride: s.
        padding: short videos start again.
        spacing: the middles of K equal parts: floor((k + 1/2)(F - T s + 1)/K).
    """

    num_frames: int = 32
    stride: int = 4
    padding: Padding = field(default="loop", kw_only=True)
    spacing: Spacing = field(default="centres", kw_only=True)

    def span(self, fps: float) -> int:
        """Return T s."""
        return self.num_frames * self.stride


@dataclass(frozen=True)
class VideoMAESampling(Sampling):
    """Sample as VideoMAE (arXiv 2203.12602) does on Kinetics.

    AdaptFormer (arXiv 2205.13535) does so on all videos. Validation during training,
    random there, is the middle view here.

    Args:
        num_frames: T.
        stride: s.
    """

    num_frames: int = 16
    stride: int = 4

    def __post_init__(self) -> None:
        positive("num_frames", self.num_frames)
        positive("stride", self.stride)

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Return T even steps from a to a + T s, of which the last one is moved back.

        They are floor(min(a + j T s/(T-1), a + T s - 1)), and a is uniform over
        [0, F - 1 - T s]. A video of F <= T s shows floor(F/s) even steps from 0 to F,
        then its last frame.
        """
        positive("num_frames of the video", length.num_frames)
        covered = self.num_frames * self.stride
        if length.num_frames > covered:
            start = int(generator.integers(length.num_frames - covered))
            end = start + covered
            steps = self.num_frames
        else:
            start = 0
            end = length.num_frames
            steps = length.num_frames // self.stride
        indices = np.minimum(np.linspace(start, end, steps), end - 1).astype(
            np.int64
        )
        return np.pad(
            indices, (0, self.num_frames - steps), constant_values=end - 1
        )

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Return s (floor(k (M - T)/(K - 1)) + j) of the M frames 0, s, 2s, ...

        M is ceil(F/s); where it is below T, the last frame is repeated.
        """
        positive("num_frames of the video", length.num_frames)
        strided = Length(-(-length.num_frames // self.stride), length.fps)
        return self.stride * DenseSampling(self.num_frames, 1).test(strided, views)


def _rounded(positions: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    return np.rint(positions).astype(np.int64)
