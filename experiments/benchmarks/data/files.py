"""The benchmark's files: drawn and encoded once, kept outside the repository.

K400-like: H.264 340 x 256, 30 frames a second, 10 s, x264 crf 21 with AAC sound, the same frames with a keyframe at
least every 12 and every 250 frames. SSv2-like: VP9 in webm, 427 x 240, 12 frames a second, 3 to 5 s, one keyframe.
"""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import UInt8

from experiments.benchmarks.data import scenes


@dataclass(frozen=True)
class Encoding:
    """One way of storing a clip; ``gop`` is the largest distance between keyframes, frames."""

    name: str
    suffix: str
    codec: str
    gop: int
    options: tuple[tuple[str, str], ...]
    sound: bool = False


@dataclass(frozen=True)
class Footage:
    """Clips of one size, each stored in every encoding; ``seconds`` is the range of durations."""

    name: str
    height: int
    width: int
    fps: int
    seconds: tuple[float, float]
    encodings: tuple[Encoding, ...]


_X264 = (("crf", "21"),)
_VP9 = (("crf", "38"), ("b", "256k"), ("cpu-used", "2"))
KINETICS = Footage("K400", 256, 340, 30, (10, 10), (
    Encoding("K400 interval 12", ".mp4", "libx264", 12, _X264, sound=True),
    Encoding("K400 interval 250", ".mp4", "libx264", 250, _X264, sound=True),
))  # fmt: skip
SOMETHING = Footage(
    "SSv2",
    240,
    427,
    12,
    (3, 5),
    (Encoding("SSv2 VP9", ".webm", "libvpx-vp9", 9999, _VP9),),
)


def default_cache() -> Path:
    """The user's cache folder, with one folder for each version of what draws and encodes the files."""
    root = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "lightning_petl"
    )
    return root / f"bench-data-{digest(scenes.draw_clip)}"


def digest(function: Callable[..., Any]) -> str:
    """Of the source file that holds ``function``: other code makes other files."""
    return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()[
        :8
    ]


def paths(
    footage: Footage, encoding: Encoding, count: int, cache: Path
) -> list[Path]:
    """Where the clips of one encoding are."""
    recipe = hashlib.sha256(repr((footage, encoding)).encode()).hexdigest()[
        :8
    ]  # another recipe, other files
    folder = cache / f"{encoding.name.replace(' ', '_')}-{recipe}"
    return [folder / f"{index:04d}{encoding.suffix}" for index in range(count)]


def write_all(
    footages: Sequence[Footage], count: int, cache: Path
) -> Iterator[tuple[int, int]]:
    """Write what is missing in all cores; yields (clips done, clips to do) as it goes."""
    todo = [
        (footage, index)
        for footage in footages
        for index in range(count)
        if not all(
            paths(footage, encoding, count, cache)[index].exists()
            for encoding in footage.encodings
        )
    ]
    yield 0, len(todo)
    if not todo:
        return
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        jobs = [
            pool.submit(_write_clip, footage, index, cache)
            for footage, index in todo
        ]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            yield done, len(todo)


def _write_clip(footage: Footage, index: int, cache: Path) -> None:
    torch.set_num_threads(1)
    generator = np.random.default_rng([index, footage.width])
    num_frames = round(footage.fps * generator.uniform(*footage.seconds))
    frames = scenes.draw_clip(
        generator, num_frames, footage.height, footage.width, footage.fps
    )
    for encoding in footage.encodings:
        path = paths(footage, encoding, index + 1, cache)[index]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{path.name}")
        _encode(partial, frames, footage.fps, encoding)
        partial.replace(path)


def _encode(
    path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int, encoding: Encoding
) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            encoding.codec, rate=fps, options=dict(encoding.options)
        )
        assert isinstance(video, av.VideoStream), (
            "a video codec gives a video stream"
        )
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt, video.thread_count, video.gop_size = (
            "yuv420p",
            1,
            encoding.gop,
        )
        sound = container.add_stream("aac", rate=44100) if encoding.sound else None
        for frame in frames:
            container.mux(
                video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24"))
            )
        container.mux(video.encode(None))
        if sound is not None:
            for block in _hum(len(frames) / fps):
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))


def _hum(seconds: float) -> Iterator[av.AudioFrame]:
    generator = np.random.default_rng(0)
    for start in range(0, int(seconds * 44100), 1024):
        samples = 0.1 * np.sin(
            2 * np.pi * 220 * np.arange(start, start + 1024) / 44100
        )
        noisy = (samples + 0.02 * generator.standard_normal(1024)).astype(
            np.float32
        )
        frame = av.AudioFrame.from_ndarray(
            np.stack([noisy, noisy]), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts = 44100, start
        yield frame
