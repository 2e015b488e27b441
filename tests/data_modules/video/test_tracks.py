"""Which of several video tracks is the film."""

import struct
from pathlib import Path

import numpy as np
import pytest

from data_modules.storage.transcode import Profile, transcode
from data_modules.video.decode import decode, open_video, probe
from tests.data_modules.ffmpeg import encoded, ffmpeg, plain_frames, ramp

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", 18)
FILM, SMALL, LARGE = (48, 64), (24, 32), (96, 128)
COPY = ("-map", 0, "-map", 1, "-c", "copy")
ATTACHED = ("-i", "film.mp4", "-attach")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 36 frames, a smaller one, a larger one that takes fewer bytes, and covers that are larger than it."""
    folder = tmp_path_factory.mktemp("parts")
    encoded(folder / "film.mp4", *X264)
    encoded(folder / "small.mp4", *X264, frames=ramp(20, *SMALL))
    encoded(folder / "large.mp4", *X264[:-1], 45, frames=ramp(30, *LARGE))
    for name in ("cover.jpg", "cover.png"):
        encoded(
            folder / name,
            "-update",
            1,
            frames=np.full((1, 256, 256), 200, np.uint8),
        )
    return folder


def shown(path: Path) -> tuple[int, int, int]:
    info = probe(path)
    return info.num_frames, info.height, info.width


def covered(path: Path, parts: Path, cover: bytes) -> Path:
    """An MP4 file with the cover in its meta data in front of its tracks (the order in which mutagen writes them)."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    data, place = (parts / "film.mp4").read_bytes(), 0
    while data[place + 4 : place + 8] != b"moov":
        place += int.from_bytes(data[place : place + 4], "big")
    size = int.from_bytes(data[place : place + 4], "big")
    head = place + 8 + int.from_bytes(data[place + 8 : place + 12], "big")
    values = box(
        b"ilst", box(b"covr", box(b"data", struct.pack(">II", 13, 0) + cover))
    )
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    added = box(b"udta", box(b"meta", bytes(4) + handler + values))
    movie = (
        struct.pack(">I", size + len(added))
        + b"moov"
        + data[place + 8 : head]
        + added
        + data[head:]
    )
    path.write_bytes(data[:place] + movie)
    return path


def test_a_cover_in_front_of_the_film(parts: Path, tmp_path: Path):
    path = covered(tmp_path / "clip.mp4", parts, (parts / "cover.jpg").read_bytes())
    assert shown(path) == (36, *FILM)
    assert (
        np.abs(
            decode(path, [35]).float().mean().item()
            - plain_frames(path, *FILM)[35].mean()
        )
        < 2
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cover_last.mp4", ("-i", "film.mp4", "-i", "cover.png", *COPY, "-disposition:v:1", "attached_pic")),
        ("cover_first.m4v", ("-i", "cover.jpg", "-i", "film.mp4", *COPY, "-disposition:v:0", "attached_pic")),
        ("attached.mkv", (*ATTACHED, "cover.jpg", "-metadata:s:t", "mimetype=image/jpeg", "-c", "copy")),
        ("attached_png.mkv", (*ATTACHED, "cover.png", "-metadata:s:t", "mimetype=image/png", "-c", "copy")),
        ("track_of_one_picture.mp4", ("-i", "cover.jpg", "-i", "film.mp4", *COPY)),
        ("track_of_one_picture.mkv", ("-i", "cover.jpg", "-i", "film.mp4", *COPY, "-disposition:v:0", "default")),
        ("time_code.mov", ("-i", "film.mp4", "-c", "copy", "-timecode", "01:00:00:00")),
        ("small_first.mp4", ("-i", "small.mp4", "-i", "film.mp4", *COPY)),
        ("small_first.mkv", ("-i", "small.mp4", "-i", "film.mp4", *COPY)),
        ("small_first.ts", ("-i", "small.mp4", "-i", "film.mp4", *COPY)),
        ("switched_off.mp4", ("-i", "large.mp4", "-i", "film.mp4", *COPY, "-disposition:v:0", "0")),
    ],
)  # fmt: skip
def test_the_film_is_found(
    parts: Path, tmp_path: Path, name: str, options: tuple[object, ...]
):
    path = tmp_path / name
    ffmpeg(
        *(
            parts / str(part) if (parts / str(part)).is_file() else part
            for part in options
        ),
        path,
    )
    expected = (
        plain_frames(path, *FILM)
        if "one_picture.mkv" not in name
        else plain_frames(parts / "film.mp4", *FILM)
    )
    with open_video(path) as video:
        assert (video.num_frames, video.height, video.width) == (
            len(expected),
            *FILM,
        )
        means = (
            video.frames(range(video.num_frames))
            .pixels.float()
            .mean((1, 2, 3))
            .numpy()
        )
        video.check()
    assert np.abs(means - expected.mean((1, 2))).max() < 2


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_the_larger_of_two_films(parts: Path, tmp_path: Path, suffix: str):
    path = tmp_path / f"two.{suffix}"
    ffmpeg("-i", parts / "film.mp4", "-i", parts / "large.mp4", *COPY, path)
    assert len(plain_frames(path, *LARGE)) == 30
    assert shown(path) == (30, *LARGE)


def test_a_copy_is_of_the_film(parts: Path, tmp_path: Path):
    ffmpeg(
        "-i",
        parts / "small.mp4",
        "-i",
        parts / "film.mp4",
        *COPY,
        tmp_path / "two.mp4",
    )
    assert (
        transcode(tmp_path / "two.mp4", tmp_path / "copy.mp4", Profile()).num_frames
        == 36
    )
    assert shown(tmp_path / "copy.mp4") == (36, *FILM)


@pytest.mark.parametrize("name", ["sound.m4a", "sound.mp4", "sound.mp3"])
def test_a_cover_is_no_film(parts: Path, tmp_path: Path, name: str):
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-i", parts / "cover.jpg", *COPY[:4], "-c:v", "copy",
           "-disposition:v:0", "attached_pic", tmp_path / name)  # fmt: skip
    with pytest.raises(
        ValueError,
        match=rf"{name}: holds no video track, only a cover picture or thumbnails",
    ):
        probe(tmp_path / name)
