"""Frames come in the order of the pictures, whatever their container says of times."""

from pathlib import Path

import numpy as np
import pytest

from data_modules.video.decode import decode, open_video
from tests.data_modules.ffmpeg import encoded, ffmpeg, plain_frames, ramp

SIZE = (64, 96)  # below, libx265 corrupts memory
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", 18, "-g", 12)
X265 = ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "log-level=none:pools=none:frame-threads=1:keyint=12")
SOURCES: dict[str, tuple[object, ...]] = {
    "flat.mp4": (*X264, "-bf", 3),
    "pyramid.mp4": (*X264, "-x264-params", "bframes=7:b-adapt=0:b-pyramid=normal"),
    "open.mp4": (*X264, "-x264-params", "bframes=3:b-adapt=0:open-gop=1"),
    "hevc.mp4": (*X265[:-1], f"{X265[-1]}:bframes=3"),
    "raw.h264": (*X264, "-bf", 3),
    "raw.hevc": (*X265[:-1], f"{X265[-1]}:bframes=4:b-pyramid=1"),
    "made_up.avi": (*X264, "-bf", 3),
}
TIMES = {
    "decoding times alone": "pts=DTS",
    "decoding times and a constant": "pts=DTS+1024",
    "offsets of the next picture": "pts=if(eq(N\\,0)\\,PTS\\,DTS+PREV_OUTPTS-PREV_OUTDTS)",
    "offsets the other way": "pts=2*DTS+2048-PTS",
    "two pictures swapped": "pts=if(eq(N\\,6)\\,PTS-512\\,if(eq(N\\,7)\\,PTS+512\\,PTS))",
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name, options in SOURCES.items():
        encoded(folder / name, *options, frames=ramp(36, *SIZE))
    return folder


def comes_in_order(path: Path) -> None:
    """All frames, each alone and some together are those of the ffmpeg program, at times that rise."""
    expected = plain_frames(path, *SIZE).mean((1, 2))
    assert len(expected) >= 30
    with open_video(path) as video:
        assert video.num_frames == len(expected)
        every = video.frames(range(len(expected)))
        video.check()
        assert video.fps == pytest.approx(25)
    assert (np.diff(every.seconds) > 0).all()
    assert np.abs(every.pixels.float().mean((1, 2, 3)).numpy() - expected).max() < 2
    for ranks in ([3], [5], [7, 8], [12, 29], [len(expected) - 1], [20, 4, 11]):
        means = decode(path, ranks).float().mean((1, 2, 3)).numpy()
        assert np.abs(means - expected[ranks]).max() < 2, ranks


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("source", ["flat.mp4", "pyramid.mp4", "open.mp4", "hevc.mp4"])
def test_times_that_a_writer_got_wrong(sources: Path, tmp_path: Path, source: str, times: str):
    path = tmp_path / "wrong.mp4"
    ffmpeg("-i", sources / source, "-c", "copy", "-bsf:v", f"setts={times}", "-use_editlist", 0, path)
    comes_in_order(path)


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mov", "flv", "asf"])
def test_decoding_times_alone_in_other_containers(sources: Path, tmp_path: Path, suffix: str):
    path = tmp_path / f"wrong.{suffix}"
    ffmpeg("-i", sources / "flat.mp4", "-c", "copy", "-bsf:v", "setts=pts=DTS+512:dts=DTS+512", path)
    comes_in_order(path)


@pytest.mark.parametrize("source", ["raw.h264", "raw.hevc", "made_up.avi"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi"])
def test_a_stream_that_was_copied_without_times(sources: Path, tmp_path: Path, source: str, suffix: str):
    if source == "raw.hevc" and suffix == "avi":
        pytest.skip("FFmpeg does not write HEVC to AVI so that it reads it again")
    path = tmp_path / f"copied.{suffix}"
    ffmpeg("-r", 25, "-i", sources / source, "-c", "copy", path)
    comes_in_order(path)
