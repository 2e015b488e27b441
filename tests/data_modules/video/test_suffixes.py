"""Every suffix that is taken for a video decodes, as far as an ffmpeg program writes such files."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from data_modules.video.decode import open_video
from data_modules.video.suffixes import (
    VIDEO_SUFFIXES,
    is_image,
    is_series,
    is_video,
    preference,
    stem,
)

# what ffmpeg knows by another suffix alone, or has no encoder for
_LIKE = {
    ".divx": "avi", ".mj2": "mov", ".mk3d": "matroska", ".mpe": "mpeg", ".tp": "mpegts", ".trp": "mpegts",
    ".ogm": "ogg", ".qt": "mov", ".avc": "h264", ".rm": "rm", ".rmvb": "rm", ".ivf": "ivf",
    ".insv": "mp4", ".m2p": "mpeg", ".mod": "mpeg", ".mp4v": "m4v", ".tod": "mpegts", ".xvid": "avi",
}  # fmt: skip
_CODEC = {".rm": "rv10", ".rmvb": "rv10", ".ogm": "libtheora", ".obu": "libaom-av1"}
_NOT_WRITTEN = {".vc1"}
_SIZE = {".dv": "720x576"}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", sorted(set(VIDEO_SUFFIXES) - _NOT_WRITTEN))
def test_the_first_and_the_last_of_ten_frames_decode(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix.upper()}"
    source = f"testsrc=size={_SIZE.get(suffix, '176x144')}:rate=25:duration=0.4"
    form = ["-f", _LIKE[suffix]] if suffix in _LIKE else []
    codec = ["-c:v", _CODEC[suffix]] if suffix in _CODEC else []
    program = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-pix_fmt",
        "yuv420p",
    ]
    written = tmp_path / f"a{suffix}"
    subprocess.run(
        [*program, *codec, *form, str(written)], check=True, capture_output=True
    )
    written.rename(path)
    assert is_video(path.name)
    with open_video(path) as video:
        assert video.num_frames == 10
        assert len(video.frames([0, 9]).pixels) == 2


@pytest.mark.parametrize(
    "name",
    ["a.txt", "a.jpg", "a.mp3", "a.m4a", "a", ".mp4", "mp4", "a.mp4.part", "a.zip"],
)
def test_names_that_are_no_videos(name: str) -> None:
    assert not is_video(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mp4", "a"),
        ("a.MKV", "a"),
        ("a.mp4.webm", "a"),
        ("v1.2", "v1.2"),
        ("a.v1.avi", "a.v1"),
        (".mp4", ".mp4"),
    ],
)
def test_stems(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_preference_and_images() -> None:
    assert sorted(["a", "a.gif", "a.MP4", "a.webm"], key=preference) == [
        "a.MP4",
        "a.webm",
        "a.gif",
        "a",
    ]
    assert is_image("a.JPG")
    assert is_series(["a_1.png", "a_22.png"])
    assert not is_series(["a_1.png", "b_2.png", "a_3.txt"])
