import struct
from pathlib import Path

import av
import pytest

from data_modules.video.headers.container import may_be_turned, stated_duration
from tests.data_modules.videos import WriteVideo

MOVIE, MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"


def rotated(source: Path, target: Path, degrees: int) -> Path:
    """A copy whose container asks for a turn."""
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    return target


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_turn_is_seen_and_its_absence_too(
    write: WriteVideo, tmp_path: Path, suffix: str
):
    plain = write(f"plain.{suffix}")
    container = MATROSKA if suffix == "mkv" else MOVIE
    assert not may_be_turned(container, plain)
    turned = rotated(plain, tmp_path / f"turned.{suffix}", 90)
    assert may_be_turned(container, turned)
    with av.open(str(turned)) as given:
        assert next(given.decode(video=0)).rotation != 0


def test_a_part_of_a_file(write: WriteVideo, tmp_path: Path):
    archive = tmp_path / "archive.tar"
    archive.write_bytes(b"tkhd" * 100 + write().read_bytes())
    assert not may_be_turned(MOVIE, archive, 400)


def test_what_cannot_be_read_may_be_turned(tmp_path: Path):
    path = tmp_path / "x"
    for content in (
        b"",
        b"abc",
        struct.pack(">I4s", 8, b"free"),
        struct.pack(">I4s", 3, b"free") * 9,
    ):
        path.write_bytes(content)
        assert may_be_turned(MOVIE, path)
        assert may_be_turned(MATROSKA, path)
        assert not may_be_turned("avi", path)


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ({"DURATION": "00:01:02.500000000"}, 62.5),
        ({"title": "00:00:09", "DURATION-eng": "01:00:00"}, 3600),
        ({"DURATION": "a minute"}, 0),
        ({}, 0),
    ],
)
def test_the_length_of_a_track(metadata: dict[str, str], seconds: float):
    assert stated_duration(metadata) == seconds
