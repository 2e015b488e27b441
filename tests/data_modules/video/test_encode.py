"""Written files hold the frames that were given, whole, and the same bytes each time."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.error import FFmpegError

from data_modules.sets.rendered.motion_scene import MOTIONS, TRAIN_CAST, draw_scene
from data_modules.video.encode import write_video


def _ramp(time: int = 10, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth frames whose brightness tells their index: 20 levels a frame."""
    level = (
        20 * np.arange(time)[:, None, None]
        + np.linspace(0, 30, width)[None, None, :]
    )
    return np.broadcast_to(level[..., None], (time, height, width, 3)).astype(
        np.uint8
    )


def _drawing() -> np.ndarray:
    """Detailed moving frames: smooth ones encode alike even where the encoder is not repeatable."""
    rng = np.random.default_rng(0)
    return draw_scene(MOTIONS[0], TRAIN_CAST, rng, frames=24, size=64).video


def _read(path: Path) -> tuple[np.ndarray, Fraction | None]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        ), rate


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", "mp4"), ("mpeg4", "avi"), ("libvpx-vp9", "mkv")],
)
def test_frames_come_back_in_order(tmp_path: Path, codec: str, suffix: str) -> None:
    path = tmp_path / f"ramp.{suffix}"
    write_video(path, _ramp(), 12, codec=codec)
    decoded, rate = _read(path)
    assert rate == 12
    assert decoded.shape == (10, 48, 64, 3)
    assert (
        np.abs(decoded.astype(int) - _ramp()).mean() < 6
    )  # a frame away would be 20


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_same_frames_same_bytes(tmp_path: Path, suffix: str) -> None:
    written = set[bytes]()
    for frames in (*[_drawing()] * 10, torch.from_numpy(_drawing())):
        write_video(tmp_path / f"clip.{suffix}", frames, 12)
        written.add((tmp_path / f"clip.{suffix}").read_bytes())
    assert len(written) == 1


def test_gop_bounds_the_distance_of_key_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "ramp.mp4", _ramp(12), 12, gop=4)
    with av.open(str(tmp_path / "ramp.mp4")) as container:
        keys = [
            index
            for index, frame in enumerate(container.decode(video=0))
            if frame.key_frame
        ]
    assert keys[0] == 0
    assert max(np.diff([*keys, 12])) <= 4


def test_fractional_rate_is_kept(tmp_path: Path) -> None:
    write_video(tmp_path / "ntsc.mp4", _ramp(), 30000 / 1001)
    assert _read(tmp_path / "ntsc.mp4")[1] == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        (_ramp().astype(np.float32), "uint8"),
        (_ramp()[0], "shape"),
        (_ramp(height=47), "47 x 64"),
        (_ramp(time=0), "one or more"),
    ],
)
def test_frames_that_cannot_be_encoded(
    tmp_path: Path, frames: np.ndarray, word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        write_video(tmp_path / "bad.mp4", frames, 12)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codec", ["no_such_codec", "aac"])
def test_codec_that_does_not_encode_video(tmp_path: Path, codec: str) -> None:
    with pytest.raises(ValueError, match=codec):
        write_video(tmp_path / "bad.mp4", _ramp(), 12, codec=codec)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, _ramp(), 12)
    before = path.read_bytes()
    with pytest.raises(FFmpegError):
        write_video(
            path, _ramp(height=20000, width=20000, time=1), 12, codec="mpeg4"
        )
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]
