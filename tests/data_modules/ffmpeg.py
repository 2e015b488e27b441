"""The ffmpeg program: writes what PyAV cannot, and decodes by another version of FFmpeg than PyAV's."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np


def ffmpeg(*arguments: object, fed: bytes | None = None) -> bytes:
    """Run the program and return what it writes to its output; ``fed`` is its input."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-y",
        *map(str, arguments),
    ]
    done = subprocess.run(
        command, input=fed or b"", capture_output=True, timeout=120
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-800:])
    return done.stdout


def ramp(count: int = 36, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame i is flat grey at 6 i + 20, so that its rank can be read off any decoded picture; with a moving bar."""
    frames = np.empty((count, height, width), np.uint8)
    for i, frame in enumerate(frames):
        frame[:] = 20 + 6 * i
        frame[:, 3 * i % (width - 8) :][:, :8] = 40 + 5 * i
    return frames


def encoded(path: Path, *options: object, frames: np.ndarray | None = None) -> Path:
    """Write a ramp, or other grey frames, at 25 frames a second."""
    frames = ramp() if frames is None else frames
    height, width = frames.shape[1:]
    raw = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray",
        "-s",
        f"{width}x{height}",
        "-r",
        25,
        "-i",
        "-",
    ]
    ffmpeg(*raw, *options, path, fed=frames.tobytes())
    return path


def plain_frames(path: Path, height: int, width: int) -> np.ndarray:
    """Every frame that the program shows of its own choice of a track, grey."""
    raw = [
        "-an",
        "-sn",
        "-dn",
        "-fps_mode",
        "passthrough",
        "-pix_fmt",
        "gray",
        "-f",
        "rawvideo",
        "-",
    ]
    return np.frombuffer(ffmpeg("-i", path, *raw), np.uint8).reshape(
        -1, height, width
    )
