"""How pictures are shown, against the ffmpeg program, which turns them as their file asks."""

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from data_modules.video.color import to_rgb
from data_modules.video.decode import open_video
from data_modules.video.encode import write_video
from data_modules.video.headers.orientation import may_be_turned

HEIGHT, WIDTH = 64, 96
FIXED = 1 << 16
# Rows (a, b), (c, d) of display matrices: no turn, a quarter, a half, three quarters; then each of them mirrored.
MATRICES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0),
            (-1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 0, -1), (0, -1, -1, 0)]  # fmt: skip
TURNS = [
    (rotate, flip)
    for rotate in (0, 90, 180, 270)
    for flip in ("", "horizontal", "vertical")
][1:]


def ffmpeg(*arguments: object) -> bytes:
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-y",
        *map(str, arguments),
    ]
    return subprocess.run(
        command, check=True, capture_output=True, stdin=subprocess.DEVNULL
    ).stdout


def corners(count: int = 3) -> np.ndarray:
    """Each corner has a color of its own, so that no turn or mirror image looks like another."""
    frames = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    half_height, half_width = HEIGHT // 2, WIDTH // 2
    frames[:, :half_height, :half_width] = 220, 40, 40
    frames[:, :half_height, half_width:] = 40, 200, 60
    frames[:, half_height:, :half_width] = 30, 60, 210
    frames[:, half_height:, half_width:] = 200, 200, 190
    return frames


def noisy(frames: np.ndarray) -> np.ndarray:
    """With so much to store that FFmpeg recognizes the shortest transport stream."""
    return frames + np.random.default_rng(0).integers(
        0, 20, frames.shape, dtype=np.uint8
    )


def check_as_ffmpeg(path: Path) -> None:
    """Size and pixels are those of the program, on both ways to RGB."""
    with open_video(path) as video:
        shown = [video.frames([0]).pixels[0], to_rgb(video.planes([0]))[0]]
        size = video.height, video.width
    raw = ffmpeg(
        "-i", path, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"
    )
    expected = np.frombuffer(raw, np.uint8).reshape(*size, 3).astype(float)
    for pixels in shown:
        assert np.abs(pixels.permute(1, 2, 0).numpy() - expected).mean() < 4


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    write_video(path, noisy(corners(12)), 25)
    return path


@pytest.mark.parametrize("matrix", MATRICES)
def test_display_matrices_of_mp4(
    plain: Path, tmp_path: Path, matrix: tuple[int, int, int, int]
):
    a, b, c, d = matrix
    content = plain.read_bytes()
    place = (
        content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    )  # ISO 14496-12, sec. 8.3.2, version 0
    entries = (a * FIXED, b * FIXED, 0, c * FIXED, d * FIXED, 0, 0, 0, 1 << 30)
    path = tmp_path / "turned.mp4"
    path.write_bytes(
        content[:place] + struct.pack(">9i", *entries) + content[place + 36 :]
    )
    check_as_ffmpeg(path)


@pytest.mark.parametrize(("rotate", "flip"), TURNS)
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_messages_of_h264(
    plain: Path, tmp_path: Path, rotate: int, flip: str, suffix: str
):
    path = tmp_path / f"turned.{suffix}"
    message = f"h264_metadata=display_orientation=insert:rotate={rotate}" + (
        f":flip={flip}" if flip else ""
    )
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", message, path)
    check_as_ffmpeg(path)


def hevc_message(rotate: int, horizontal: bool, vertical: bool) -> bytes:
    """A prefix unit with the display orientation message (ITU-T H.265, sec. D.2.17): 20 bits, then stop bits."""
    bits = (
        f"0{horizontal:d}{vertical:d}{round(rotate / 360 * 65536):016b}1" + "1000"
    )
    payload = int(bits, 2).to_bytes(3, "big")
    return (
        b"\0\0\0\1"
        + bytes([39 << 1, 1, 47, len(payload)])
        + payload.replace(b"\0\0\1", b"\0\0\3\1")
        + b"\x80"
    )


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
@pytest.mark.parametrize(
    "turn",
    [(90, False, False), (180, False, False), (0, True, False), (270, False, True)],
)
def test_messages_of_hevc(
    plain: Path, tmp_path: Path, turn: tuple[int, bool, bool], suffix: str
):
    stream, path = tmp_path / "stream.hevc", tmp_path / f"turned.{suffix}"
    ffmpeg(
        "-i",
        plain,
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=none:pools=none:info=0:bframes=0",
        stream,
    )
    content = stream.read_bytes()
    first_picture = content.index(
        b"\0\0\1" + bytes([20 << 1, 1])
    )  # IDR_N_LP; libx265 has IDR_W_RADL with open GOPs
    stream.write_bytes(
        content[:first_picture] + hevc_message(*turn) + content[first_picture:]
    )
    ffmpeg("-i", stream, "-c", "copy", path)
    check_as_ffmpeg(path)


def test_a_plain_file_needs_no_picture_for_its_size(plain: Path):
    content = plain.read_bytes()
    assert not may_be_turned(
        "h264", b"\1d\0\n\xff", content[content.index(b"mdat") + 4 :]
    )
    assert may_be_turned(
        "h264", b"", b"\0\0\0\1\6" + bytes([47, 4, 0, 0, 0, 0x80, 0x80])
    )
    assert not may_be_turned(
        "h264", b"", b"\0\0\0\1\6" + bytes([5, 4, 47, 1, 47, 47, 0x80])
    )  # it is within another
