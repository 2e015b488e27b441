"""Frame indices exactly as single papers' code takes them, where that differs from the plain schemes by some frames.

s = (F - 1) / T below; round is to the nearest, halves to even, in double precision as published.
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
    """Segments that share their ends: [round(j s), round((j+1) s)].

    SlowFast's rule for Something-Something, and through it that of ST-Adapter (arXiv 2206.13559) on SSv2 and of
    AIM (arXiv 2302.03024) on SSv2 and Diving48. They take one temporal view; more divide each segment evenly.

    Args:
        num_frames: T.
    """

    num_frames: int = 8

    def __post_init__(self) -> None:
        positive("num_frames", self.num_frames)

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Uniform over a segment with both of its ends."""
        edges = self._edges(length)
        return generator.integers(edges[:-1], edges[1:], endpoint=True)

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """a + floor((k+1)(b - a)/(K+1)) in a segment [a, b]; floor((a + b)/2) for K = 1."""
        positive("views", views)
        edges = self._edges(length)
        return edges[:-1] + np.arange(1, views + 1)[:, None] * np.diff(edges) // (
            views + 1
        )

    def _edges(self, length: Length) -> Int64[np.ndarray, " edges"]:
        positive("num_frames of the video", length.num_frames)
        return _rounded(
            np.arange(self.num_frames + 1) * ((length.num_frames - 1) / self.num_frames)
        )


@dataclass(frozen=True)
class Side4VideoKineticsSampling(RoundedSegmentSampling):
    """Side4Video (arXiv 2311.15769) on Kinetics: trains on rounded segments, tests from their beginnings on.

    Args:
        num_frames: T.
    """

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """floor(a_k + jF/T), a_k = floor(k (F/T - 1)/(K - 1)); a_0 = 0. With F < T all a_k are 0."""
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        segment = length.num_frames / self.num_frames
        starts = np.floor(np.linspace(0, max(segment - 1, 0), views))
        return np.floor(starts[:, None] + segment * np.arange(self.num_frames)).astype(
            np.int64
        )


@dataclass(frozen=True)
class Side4VideoSomethingSampling(SegmentSampling):
    """Side4Video (arXiv 2311.15769) on Something-Something V1 and V2.

    Args:
        num_frames: T.
    """

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """As TSN; a video of F <= T frames shows all of them and T - F random ones again, in order."""
        if length.num_frames > self.num_frames:
            return super().train(length, generator)
        positive("num_frames of the video", length.num_frames)
        again = generator.integers(
            length.num_frames, size=self.num_frames - length.num_frames
        )
        return np.sort(np.concatenate([np.arange(length.num_frames), again]))

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """round(j s) + floor((k+1) s/(K+1))."""
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        segment = (length.num_frames - 1) / self.num_frames
        shifts = np.floor(segment / (views + 1) * np.arange(1, views + 1)).astype(
            np.int64
        )
        return _rounded(segment * np.arange(self.num_frames)) + shifts[:, None]


@dataclass(frozen=True)
class Side4VideoRetrievalSampling(SegmentSampling):
    """Side4Video (arXiv 2311.15769) on MSR-VTT and MSVD: every d-th frame, d = floor(F/T), thinned to T.

    Its code trains on VATEX in the same way, and tests there as :class:`SegmentSampling`. It reads no video of fewer
    than T frames; here such a video shows frames again.

    Args:
        num_frames: T.
    """

    num_frames: int = 12

    def train(
        self, length: Length, generator: np.random.Generator
    ) -> Int64[np.ndarray, " t"]:
        """Uniform over [j d, (j+1) d), so that the last F - T d frames are never seen; as TSN where F < T."""
        whole = length.num_frames // self.num_frames * self.num_frames
        return super().train(
            length._replace(num_frames=whole or length.num_frames), generator
        )

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """Of the n frames a_k, a_k + d, ... < F those numbered floor(j (n-1)/(T-1)); a_k = floor(k d/K), a_0 = 0."""
        positive("num_frames of the video", length.num_frames)
        positive("views", views)
        step = max(length.num_frames // self.num_frames, 1)
        clips = [
            np.arange(view * step // views, length.num_frames, step)
            for view in range(views)
        ]
        return np.stack(
            [
                clip[np.linspace(0, len(clip) - 1, self.num_frames, dtype=np.int64)]
                for clip in clips
            ]
        )


@dataclass(frozen=True)
class AIMKineticsSampling(DenseSampling):
    """AIM (arXiv 2302.03024) on Kinetics, that is MMAction's: a clip covers T s frames, those after its last one too.

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
        """T s."""
        return self.num_frames * self.stride


@dataclass(frozen=True)
class VideoMAESampling(Sampling):
    """VideoMAE (arXiv 2203.12602) on Kinetics, and AdaptFormer (arXiv 2205.13535) on all videos.

    Validation during training, random there, is the middle view here.

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
        """T even steps from a to a + T s, the last one back: floor(min(a + j T s/(T-1), a + T s - 1)).

        a is uniform over [0, F - 1 - T s]. A video of F <= T s shows floor(F/s) even steps from 0 to F, then its
        last frame.
        """
        positive("num_frames of the video", length.num_frames)
        if length.num_frames > (covered := self.num_frames * self.stride):
            start = int(generator.integers(length.num_frames - covered))
            end, steps = start + covered, self.num_frames
        else:
            start, end, steps = 0, length.num_frames, length.num_frames // self.stride
        indices = np.minimum(np.linspace(start, end, steps), end - 1).astype(np.int64)
        return np.pad(indices, (0, self.num_frames - steps), constant_values=end - 1)

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """s (floor(k (M - T)/(K - 1)) + j) of the M = ceil(F/s) frames 0, s, 2s, ..., the last one repeated."""
        positive("num_frames of the video", length.num_frames)
        strided = Length(-(-length.num_frames // self.stride), length.fps)
        return self.stride * DenseSampling(self.num_frames, 1).test(strided, views)


def _rounded(positions: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    return np.rint(positions).astype(np.int64)
