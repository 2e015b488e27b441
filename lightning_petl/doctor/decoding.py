"""Measure how many clips a second this machine decodes."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from data_modules.io.progress import cpus
from data_modules.video.decode import open_video
from data_modules.video.encode import write_video
from lightning_petl.doctor.finding import Finding

_CLIPS = 16
_FRAMES = 8

# clips a second of one process; a GPU trains ViT-B on hundreds
_PLENTY = 8


def decode_rate(video: Path | None) -> Iterator[Finding]:
    """Measure clips of eight frames a second, by one process and by one a CPU.

    Args:
        video: a file of the user; None: a drawn H.264 file of 340x256 pixels and 250 frames.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = video or _drawn(Path(folder))
        with open_video(path) as opened:
            told = f"{opened.width}x{opened.height}, {opened.num_frames} frames"
        rates = {workers: _rate(path, workers) for workers in sorted({1, cpus()})}
    found: list[str] = []
    for workers, rate in rates.items():
        found.append(f"{rate:.0f} clips/s by {workers} process(es)")
    told += f": {', '.join(found)}"
    if rates[1] >= _PLENTY:
        yield Finding("decoding", "good", told)
    else:
        advice = "lightning-petl data ingest makes copies that decode several times faster"
        yield Finding("decoding", "slow", told, advice)


def _rate(path: Path, workers: int) -> float:
    parts = [(path, _CLIPS)] * workers
    if workers == 1:
        start = time.perf_counter()
        _decode(parts[0])
        return _CLIPS / (time.perf_counter() - start)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        # one clip each, so that the start of the processes is not measured
        list(pool.map(_decode, [(path, 1)] * workers))
        start = time.perf_counter()
        list(pool.map(_decode, parts))
        return workers * _CLIPS / (time.perf_counter() - start)


def _decode(part: tuple[Path, int]) -> None:
    path, clips = part
    for _ in range(clips):
        with open_video(path) as video:
            video.frames(_spread(video.num_frames))


def _spread(num_frames: int) -> Sequence[int]:
    return np.linspace(0, num_frames - 1, _FRAMES).astype(int).tolist()


def _drawn(folder: Path) -> Path:
    """Write a video of noise that moves 3 pixels to the right a frame."""
    rng = np.random.default_rng(0)
    # blocks of 4x4 pixels: noise of single pixels would make a file far larger than real ones
    blocks = rng.integers(0, 255, (64, 86, 3), dtype=np.uint8)
    noise = blocks.repeat(4, 0).repeat(4, 1)[:, :340]
    frames = np.stack([np.roll(noise, 3 * shift, axis=1) for shift in range(250)])
    write_video(folder / "drawn.mp4", frames, 25)
    return folder / "drawn.mp4"
