"""What every section of the benchmark shares: clips, readers, frames to ask for, progress."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from rich.progress import Progress

from data_modules.sampling.schemes import (
    DenseSampling,
    Length,
    Sampling,
    SegmentSampling,
)
from data_modules.video.decode import open_video
from experiments.benchmarks.data import files, measure
from experiments.benchmarks.data.contenders import ALL, RGB, YUV, Contender
from experiments.benchmarks.data.measure import Item

Task = tuple[str, Sampling]


@dataclass
class Bench:
    """Settings of a run, and who takes part.

    Attributes:
        cache: where the clips are.
        footages: what they show.
        clips: how many of each footage.
        repeats: how often each clip is read by everybody.
        memory_clips: how many are read to see whether memory grows.
        missing: by reader, why it cannot take part.
    """

    cache: Path
    footages: tuple[files.Footage, ...]
    clips: int
    repeats: int
    memory_clips: int
    progress: Progress
    missing: dict[str, str] = field(default_factory=dict)
    lengths: dict[Path, Length] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.missing = {
            one.name: reason for one in ALL if (reason := one.missing())
        }

    def paths(self, footage: files.Footage, encoding: files.Encoding) -> list[Path]:
        """The clips of one encoding."""
        return files.paths(footage, encoding, self.clips, self.cache)

    def ticks(self, title: str, total: int) -> Callable[[], None]:
        """A new progress bar; call the result after each step."""
        bar = self.progress.add_task(title, total=total)
        return lambda: self.progress.advance(bar)

    def length(self, path: Path) -> Length:
        """Of a video, asked once."""
        if path not in self.lengths:
            with open_video(path) as video:
                self.lengths[path] = Length(video.num_frames, video.fps)
        return self.lengths[path]

    def draws(self, paths: Sequence[Path], sampling: Sampling) -> list[list[Item]]:
        """For each repeat every clip with frames drawn as in training, the same in every run."""
        generator = np.random.default_rng(0)
        return [
            [(path, sampling.train(self.length(path), generator)) for path in paths]
            for _ in range(self.repeats)
        ]

    def readers(
        self, footage: files.Footage, paths: Sequence[Path]
    ) -> dict[str, Callable[[Path, Any], Any]]:
        """Who can take part and gives the right frames of these files.

        Raises:
            ValueError: this package gives wrong frames.
        """
        able = {one.name: one for one in ALL if one.name not in self.missing}
        found = {
            name: one.make(footage.height, footage.width)
            for name, one in able.items()
        }
        tick = self.ticks(
            f"checking the frames of {paths[0].parent.name}", len(paths)
        )
        for path, indices in self.draws(paths, SegmentSampling(8))[0]:
            for name, reason in _wrong(able, found, path, indices).items():
                if name in (YUV.name, RGB.name):
                    raise ValueError(
                        f"{name} gives wrong frames of {path}: {reason}"
                    )
                self.missing[f"{name}, {paths[0].parent.name}"] = (
                    f"wrong frames of {path.name}: {reason}"
                )
                del found[name], able[name]
            tick()
        return found


def tasks(footage: files.Footage) -> tuple[Task, Task]:
    """TSN: a frame drawn from each of 8 segments. Dense: 16 frames, every 4th, or every 2nd where a clip is short."""
    return ("TSN-8", SegmentSampling(8)), (
        "dense-16",
        DenseSampling(16, 4 if footage.seconds[1] > 5 else 2),
    )


def _wrong(
    able: Mapping[str, Contender],
    readers: Mapping[str, Callable[[Path, Any], Any]],
    path: Path,
    indices: Int64[np.ndarray, " t"],
) -> dict[str, str]:
    video = measure.sequential(path)
    near = sorted(
        {
            int(i) + step
            for i in indices
            for step in (-1, 0, 1)
            if 0 <= i + step < len(video)
        }
    )
    wrong: dict[str, str] = {}
    for name, one in able.items():
        expected = dict(zip(near, one.truth(video[near]), strict=True))
        if reason := measure.disagreement(
            one.picture(readers[name](path, indices)), expected, indices
        ):
            wrong[name] = reason
    return wrong
