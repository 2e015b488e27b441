"""Frames come in the order of the pictures, whatever their container says of times."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from data_modules.storage.manifest import ManifestEntry, read, write
from data_modules.storage.transcode import CopyTask, Profile, copy_clip, transcode
from data_modules.video.decode import decode, open_video, probe
from data_modules.video.headers.picture_order import PictureOrder
from data_modules.video.source import Source
from data_modules.video.track import FileTrack
from tests.data_modules.ffmpeg import encoded, ffmpeg, plain_frames, ramp

NOTE = "its presentation times contradict the order of its pictures, which are taken as they decode"
SIZE = (64, 96)  # below, libx265 corrupts memory
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", 18, "-g", 12)
X265 = (
    "-c:v",
    "libx265",
    "-pix_fmt",
    "yuv420p",
    "-x265-params",
    "log-level=none:pools=none:frame-threads=1:keyint=12",
)
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
@pytest.mark.parametrize(
    "source", ["flat.mp4", "pyramid.mp4", "open.mp4", "hevc.mp4"]
)
def test_times_that_a_writer_got_wrong(
    sources: Path, tmp_path: Path, source: str, times: str
):
    path = tmp_path / "wrong.mp4"
    ffmpeg(
        "-i",
        sources / source,
        "-c",
        "copy",
        "-bsf:v",
        f"setts={times}",
        "-use_editlist",
        0,
        path,
    )
    comes_in_order(path)


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mov", "flv", "asf"])
def test_decoding_times_alone_in_other_containers(
    sources: Path, tmp_path: Path, suffix: str
):
    path = tmp_path / f"wrong.{suffix}"
    ffmpeg(
        "-i",
        sources / "flat.mp4",
        "-c",
        "copy",
        "-bsf:v",
        "setts=pts=DTS+512:dts=DTS+512",
        path,
    )
    comes_in_order(path)


@pytest.mark.parametrize("source", ["raw.h264", "raw.hevc", "made_up.avi"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi"])
def test_a_stream_that_was_copied_without_times(
    sources: Path, tmp_path: Path, source: str, suffix: str
):
    if source == "raw.hevc" and suffix == "avi":
        pytest.skip("FFmpeg does not write HEVC to AVI so that it reads it again")
    path = tmp_path / f"copied.{suffix}"
    ffmpeg("-r", 25, "-i", sources / source, "-c", "copy", path)
    comes_in_order(path)


def test_a_copy_has_the_order_of_the_pictures(sources: Path, tmp_path: Path):
    """Compared with a plain decode, not with what the planner makes of the times."""
    path = tmp_path / "wrong.mp4"
    ffmpeg(
        "-i",
        sources / "flat.mp4",
        "-c",
        "copy",
        "-bsf:v",
        "setts=pts=DTS",
        "-use_editlist",
        0,
        path,
    )
    entry = copy_clip(CopyTask("wrong.mp4", path, tmp_path / "copies", Profile()))
    assert (entry.status, entry.num_frames) == ("encoded", 36)
    assert entry.reason == NOTE
    copy = tmp_path / "copies" / "wrong.mp4"
    assert (
        np.abs(
            plain_frames(copy, *SIZE).mean((1, 2))
            - plain_frames(path, *SIZE).mean((1, 2))
        ).max()
        < 2
    )
    comes_in_order(copy)


def test_a_planner_that_shuffles_frames_does_not_reach_a_copy(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    planned, original = FileTrack.pictures, sources / "flat.mp4"

    def shuffled(
        track: FileTrack, ranks: frozenset[int]
    ) -> Iterator[tuple[int, VideoFrame]]:
        wrong = (
            track._order is not None and track._source.path == original
        )  # a decode in order is what it is
        return (
            (35 - rank, frame) if wrong else (rank, frame)
            for rank, frame in planned(track, ranks)
        )

    monkeypatch.setattr(FileTrack, "pictures", shuffled)
    transcode(original, tmp_path / "copy.mp4", Profile())
    differ = plain_frames(tmp_path / "copy.mp4", *SIZE).mean((1, 2)) - plain_frames(
        original, *SIZE
    ).mean((1, 2))
    assert np.abs(differ).max() < 2


def test_the_index_says_so(sources: Path, tmp_path: Path):
    ffmpeg(
        "-i",
        sources / "flat.mp4",
        "-c",
        "copy",
        "-bsf:v",
        "setts=pts=DTS",
        "-use_editlist",
        0,
        tmp_path / "a.mp4",
    )
    assert probe(tmp_path / "a.mp4").note == NOTE
    assert probe(sources / "flat.mp4").note == ""
    write(
        tmp_path / "manifest.csv",
        [ManifestEntry("a.mp4", "ok", info=probe(tmp_path / "a.mp4"))],
    )
    (entry,) = read(tmp_path / "manifest.csv").values()
    assert entry.info == probe(tmp_path / "a.mp4")


def test_pictures_that_come_in_another_order_are_taken_as_they_come(
    sources: Path, monkeypatch: pytest.MonkeyPatch
):
    """As where a sequence begins anew in its middle, which the first bytes of slices do not tell."""
    monkeypatch.setattr(PictureOrder, "order", lambda numbers: np.arange(36))
    monkeypatch.setattr(
        "data_modules.video.packets.presentation", lambda table: np.arange(36)
    )
    expected = plain_frames(sources / "flat.mp4", *SIZE).mean((1, 2))
    with open_video(sources / "flat.mp4") as video:
        assert video.info().note == ""
        for ranks in (range(36), [5, 9], [30]):
            means = video.frames(ranks).pixels.float().mean((1, 2, 3)).numpy()
            assert np.abs(means - expected[ranks]).max() < 2
        assert video.info().note == NOTE
    with open_video(sources / "flat.mp4") as video:
        video.check()
        assert video.info().note == NOTE


def test_a_decode_in_order_goes_on_where_it_stopped(
    sources: Path, monkeypatch: pytest.MonkeyPatch
):
    fed, plain = list[int](), FileTrack._decode
    monkeypatch.setattr(
        FileTrack,
        "_decode",
        lambda track, packet, n: fed.append(n) or plain(track, packet, n),
    )
    with open_video(sources / "flat.mp4", sequential=True) as video:
        for start in range(0, 36, 4):
            video.frames(range(start, start + 4))
        assert len(fed) <= 37
        video.frames([3])
        assert len(fed) > 37


def test_slices_are_read_once_for_each_version_of_a_file(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read, plain, path = list[int](), PictureOrder.order, tmp_path / "a.mp4"
    monkeypatch.setattr(
        PictureOrder, "order", lambda numbers: read.append(1) or plain(numbers)
    )
    shutil.copy(sources / "flat.mp4", path)
    for _ in range(3):
        assert probe(path).num_frames == 36
    assert len(read) == 1
    ffmpeg(
        "-i",
        sources / "flat.mp4",
        "-c",
        "copy",
        "-bsf:v",
        "setts=pts=DTS",
        "-use_editlist",
        0,
        path,
    )
    comes_in_order(path)
    assert len(read) > 2  # what is wrong is not remembered as right


def test_slices_of_a_compared_copy_are_not_read_unless_it_changed(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read, plain, path = list[int](), PictureOrder.order, tmp_path / "a.mp4"
    monkeypatch.setattr(
        PictureOrder, "order", lambda numbers: read.append(1) or plain(numbers)
    )
    shutil.copy(sources / "flat.mp4", path)
    size = path.stat().st_size
    assert probe(Source(path, verified=size)).num_frames == 36
    assert not read
    assert probe(Source(path, verified=size + 1)).num_frames == 36
    assert len(read) == 1
