"""``lightning-petl data ingest`` on real files: a copy with the same clips, whatever interrupts or damages it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import av
import numpy as np
import pytest
import yaml

from data_modules.sample import Clip
from data_modules.sampling.schemes import Length, SegmentSampling
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.storage.copy_index import read_index
from data_modules.storage.files import Files
from data_modules.storage.ingested import IngestedCopy
from data_modules.video.decode import decode, open_video
from data_modules.video.encode import write_video
from lightning_petl.__main__ import main
from tests.data_modules.storage.test_transcode import moving

CLIPS = {  # by name: container and codec, frames, height
    "train/left/0.mp4": ("libx264", 20, 64),
    "train/left/1.webm": ("libvpx-vp9", 21, 64),
    "train/left/2.avi": ("mpeg4", 22, 64),
    "train/right/0.mp4": ("libx264", 23, 64),
    "train/right/1.mkv": ("libx265", 24, 128),
    "val/left/0.mp4": ("libx264", 25, 96),
    "val/right/0.mp4": ("libx264", 26, 64),
}


SHARD = 40_000  # bytes: two or three of the clips
Finished = Callable[..., Path]
OWN = {"index.csv", "ingest.json", ".journal.csv"}


class DataSet(NamedTuple):
    """A folder of videos and the command that copies it."""

    root: Path
    config: Path
    output: Path

    def arguments(self, *options: str) -> list[str]:
        return [
            "data",
            "ingest",
            "-c",
            str(self.config),
            "--output",
            str(self.output),
            "--workers=2",
            *options,
        ]

    def ingest(self, *options: str) -> int:
        return main(self.arguments("--short_side=64", *options))


def data_set(folder: Path, root: Path) -> DataSet:
    init_args: dict[str, Any] = {
        "root": str(root),
        "sampling": {"class_path": "SegmentSampling"},
    }
    config = root.parent / f"{folder.name}.yaml"
    config.write_text(
        yaml.safe_dump(
            {"data": {"class_path": "VideoFolder", "init_args": init_args}}
        )
    )
    return DataSet(root, config, folder / "copy")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written once, read by all tests of this file."""
    root = tmp_path_factory.mktemp("data") / "videos"
    for number, (name, (codec, count, height)) in enumerate(CLIPS.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        frames = np.roll(moving(count, height, height * 3 // 2), 7 * number, axis=2)
        write_video(root / name, frames, 25, codec=codec, gop=250)
    return root


@pytest.fixture
def data(tmp_path: Path, videos: Path) -> DataSet:
    """The clips that all tests share."""
    return data_set(tmp_path, videos)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Finished:
    """Copies that are made once for each way, with several shards; a test that changes one copies it first."""

    @cache
    def copy(*options: str) -> Path:
        data = data_set(tmp_path_factory.mktemp("finished"), videos)
        with patch("data_modules.storage.ingest_copy.SHARD", SHARD):
            assert data.ingest(*options) == 0
        return data.output

    return copy


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the journal, whose order is that in which clips finish."""
    files = (
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".journal.csv"
    )
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in files
    }


def all_frames(source: Any) -> np.ndarray:
    with open_video(source) as video:
        return video.planes(range(video.num_frames)).data.numpy()


def test_files(data: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert data.ingest() == 0
    shown = capsys.readouterr().out
    assert "7 encoded" in shown
    assert re.search(r"size .* before, .* after: \d\.\d\dx", shown)
    assert re.search(r"8 frames of a clip .* ms CPU before, .* ms after", shown)
    storage = IngestedCopy(data.output)
    for entry in read_index(data.output):
        assert entry.psnr > 38
        assert entry.num_frames == CLIPS[entry.path][1]
        assert entry.source_size == (data.root / entry.path).stat().st_size
        with av.open(str(storage.source(entry.path).path)) as container:
            assert (
                container.streams.video[0].height,
                container.streams.video[0].codec.name,
            ) == (64, "h264")
    assert {entry.path for entry in read_index(data.output)} == set(CLIPS)


def test_a_clip_shows_the_same_frames_as_before(
    data: DataSet, finished: Finished
) -> None:
    storage = IngestedCopy(finished())
    for name in CLIPS:
        shown = list[Any]()
        for source in (data.root / name, storage.source(name)):
            with open_video(source) as video:
                length = Length(video.num_frames, video.fps)
                indices = SegmentSampling(8).train(length, np.random.default_rng(3))
                frames = video.frames(indices)
                shown.append((length, indices.tolist(), frames.seconds.tolist()))
        assert shown[0] == (
            shown[1][0],
            shown[1][1],
            pytest.approx(shown[1][2], abs=1e-9),
        )


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_modules.storage.ingest_copy.SHARD", SHARD)


def test_shards_hold_the_same_copies_as_files(finished: Finished) -> None:
    packed = finished("--tar=true")
    files, shards = IngestedCopy(finished()), IngestedCopy(packed)
    assert len(list(packed.glob("shard-*.tar"))) > 1
    assert {path.name.split("-")[0] for path in packed.iterdir()} == {
        "shard",
        "index.csv",
        "ingest.json",
        ".journal.csv",
    }
    for name in CLIPS:
        source = shards.source(name)
        packed_bytes = source.path.read_bytes()[
            source.start : source.start + (source.size or 0)
        ]
        assert packed_bytes == files.source(name).path.read_bytes()


def test_shards_without_reencoding_decode_bit_for_bit_as_the_files(
    data: DataSet, finished: Finished
) -> None:
    output = finished("--tar=true", "--reencode=false")
    storage = IngestedCopy(output)
    for name in CLIPS:
        assert np.array_equal(
            all_frames(storage.source(name)), all_frames(data.root / name)
        )
        assert decode(storage.source(name), [3, 19]).equal(
            decode(data.root / name, [3, 19])
        )
    listed = [
        subprocess.check_output(["tar", "tf", path], text=True)
        for path in sorted(output.glob("*.tar"))
    ]
    assert "".join(listed).split() == sorted(CLIPS)


def test_training_reads_the_copy(data: DataSet, finished: Finished) -> None:
    output = finished("--tar=true")
    clips = [Clip(name, data.root / name, 0) for name in CLIPS]
    located = Files(ingested=str(output)).located(clips, "train", data.root)
    assert len(located.clips) == 7
    assert {str(clip.path).split(" (byte")[0] for clip in located.clips} == {
        str(path) for path in output.glob("shard-*.tar")
    }


def test_the_originals_may_go(tmp_path: Path, videos: Path) -> None:
    shutil.copytree(videos, tmp_path / "own")
    data = data_set(tmp_path, tmp_path / "own")
    assert data.ingest("--tar=true", "--reencode=false") == 0
    options: dict[str, Any] = {
        "sampling": SegmentSampling(4),
        "files": Files(ingested=str(data.output)),
    }
    before = VideoFolder(str(data.root), **options)
    shutil.rmtree(data.root / "train")
    (data.root / "val").rename(tmp_path / "elsewhere")
    after = VideoFolder(str(data.root), **options)
    assert (after.labels, len(after.clips("train"))) == (before.labels, 5)
    assert after.clips("test") == after.clips("val") != []
    after.setup("validate")
    (batch,) = after.val_dataloader()
    assert batch.clip_id == ["left/0.mp4", "right/0.mp4"]


def test_the_copy_of_another_data_set_is_refused(
    data: DataSet, finished: Finished
) -> None:
    files, other = (
        Files(ingested=str(finished("--tar=true", "--reencode=false"))),
        [Clip("7", data.root / "train" / "up" / "7.mp4", 0)],
    )
    with pytest.raises(
        ValueError,
        match=r"index\.csv: has no clip 'train/up/7\.mp4' among its 7, such as 'train/left",
    ):
        files.located(other, "train", data.root)


START = (
    "import sys, data_modules.storage.ingest_copy as c; c.SHARD = 40_000; "
    "from lightning_petl.__main__ import main; "
)


def processes(session: int) -> list[int]:
    """Those alive that this session began."""
    found = list[int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session = (
                path.read_text().rpartition(")")[2].split()[:4]
            )
        except OSError:
            continue
        if int(of_session) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too slow"
        time.sleep(0.02)


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(),
    reason="finds the processes as Linux shows them",
)
@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], marks=pytest.mark.slow, id="files"),
        pytest.param(["--tar=true"], id="tar"),
    ],
)
def test_killed_and_started_again_is_as_if_nothing_had_happened(
    data: DataSet, options: list[str], finished: Finished
) -> None:
    whole = finished(*options)
    journal = data.output / ".journal.csv"
    arguments = data.arguments("--short_side=64", *options)
    killed = subprocess.Popen(
        [sys.executable, "-c", START + f"main({arguments!r})"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: journal.exists() and journal.read_text().count("\n") >= 2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (data.output / "index.csv").exists()
    wait_until(
        lambda: not processes(killed.pid)
    )  # workers notice that nobody waits for them
    journal.write_text(journal.read_text()[:-20])  # and a line was cut
    assert data.ingest(*options) == 0
    assert contents(data.output) == contents(whole)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("options", [[], ["--tar=true"]], ids=["files", "tar"])
def test_damage_is_named_and_made_good(
    data: DataSet,
    options: list[str],
    finished: Finished,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished(*options), data.output)
    before = contents(data.output)
    entry = list(read_index(data.output))[1]
    path = data.output / entry.file
    damaged = bytearray(path.read_bytes())
    damaged[entry.start + entry.size // 2] ^= 255
    path.write_bytes(damaged)
    capsys.readouterr()
    assert data.ingest(*options) == 0
    assert re.search(
        rf"{path.name}: the bytes of {entry.path}, .*: it is made again",
        capsys.readouterr().out,
    )
    assert contents(data.output) == before
    assert data.ingest(*options) == 0
    assert "Copying" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [[], ["--tar=true", "--reencode=false"]], ids=["files", "tar"]
)
def test_a_replaced_original_is_told_and_copied_anew(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "videos"
    for number, name in enumerate(
        (
            "train/left/0.mp4",
            "train/right/0.mp4",
            "val/left/0.mp4",
            "val/right/0.mp4",
        )
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, np.full((4, 32, 32, 3), 60 * number, np.uint8), 8)
    data = data_set(tmp_path, root)
    assert data.ingest(*options) == 0
    before = contents(data.output)
    copied = VideoFolder(
        str(root),
        files=Files(ingested=str(data.output)),
        sampling=SegmentSampling(2),
    )
    copied.setup("fit")
    write_video(
        root / "train/right/0.mp4", np.full((5, 32, 32, 3), 200, np.uint8), 8
    )
    again = VideoFolder(
        str(root),
        files=Files(ingested=str(data.output)),
        sampling=SegmentSampling(2),
    )
    with pytest.raises(
        ValueError,
        match=r"1 of 2 originals are not those that were copied: train/right/0\.mp4; run the",
    ):
        again.setup("fit")
    capsys.readouterr()
    assert data.ingest(*options) == 0
    assert (
        "train/right/0.mp4: is not the video that was copied: it is made again"
        in capsys.readouterr().out
    )
    assert contents(data.output) != before
    entry = next(
        entry
        for entry in read_index(data.output)
        if entry.path == "train/right/0.mp4"
    )
    assert entry.num_frames == 5
    VideoFolder(
        str(root),
        files=Files(ingested=str(data.output)),
        sampling=SegmentSampling(2),
    ).setup("fit")


@pytest.mark.usefixtures("small_shards")
def test_a_lost_shard_is_made_again(data: DataSet, finished: Finished) -> None:
    shutil.copytree(finished("--tar=true", "--reencode=false"), data.output)
    before = contents(data.output)
    (data.output / "shard-00001.tar").unlink()
    assert data.ingest("--tar=true", "--reencode=false") == 0
    assert contents(data.output) == before


@pytest.fixture
def damaged_data(tmp_path: Path, videos: Path) -> DataSet:
    """Four of the videos, and a file that is none."""
    root = tmp_path / "damaged" / "videos"
    kept = shutil.ignore_patterns("1.*", "2.*")
    shutil.copytree(videos, root, ignore=kept)
    (root / "train" / "left" / "bad.webm").write_bytes(b"no video at all")
    return data_set(tmp_path, root)


@pytest.mark.parametrize(
    "options", [[], ["--tar=true"], ["--tar=true", "--reencode=false"]]
)
def test_a_bad_clip_stays_as_it_is_and_is_listed(
    damaged_data: DataSet, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert damaged_data.ingest(*options) == 1
    shown = capsys.readouterr().out
    assert "1 damaged" in shown
    assert re.search(
        r"damaged: train/left/bad\.webm: .*cannot be read as a video", shown
    )
    source = IngestedCopy(damaged_data.output).source("train/left/bad.webm")
    end = None if source.size is None else source.start + source.size
    assert source.path.read_bytes()[source.start : end] == b"no video at all"
    with pytest.raises(ValueError, match="cannot be read as a video"):
        decode(source, [0])


def test_a_clip_that_hangs_is_kept_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten seconds of noise take longer than the time limit on any machine."""
    noise = np.random.default_rng(0).integers(
        0, 256, (250, 240, 320, 3), dtype=np.uint8
    )
    for split in ("train", "val"):
        (tmp_path / "videos" / split / "a").mkdir(parents=True)
        write_video(
            tmp_path / "videos" / split / "a" / "clip.mp4",
            noise if split == "train" else noise[:4, :32, :48],
            25,
        )
    data = data_set(tmp_path, tmp_path / "videos")
    assert data.ingest("--timeout=0.1") == 1
    shown = capsys.readouterr().out
    hung = [
        entry.path
        for entry in read_index(data.output)
        if entry.reason == "no answer in 0.1 s"
    ]
    assert "train/a/clip.mp4" in hung
    for name in hung:
        assert f"damaged: {name}: no answer in 0.1 s" in shown
        assert (data.output / name).read_bytes() == (data.root / name).read_bytes()
    assert not list(data.output.rglob(".partial-*"))


def told(data: DataSet, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert data.ingest(*options) == 2
    return capsys.readouterr().err


def test_too_little_room_is_told_before_it_is_used(
    data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = shutil.disk_usage(data.root)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=10_000)
    )
    assert re.search(
        r"5 more clips need about .* 10\.0 kB are free; make room",
        told(data, capsys),
    )
    monkeypatch.undo()
    assert data.ingest() == 0


def test_another_data_set_or_way_does_not_go_into_the_same_folder(
    data: DataSet,
    damaged_data: DataSet,
    finished: Finished,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished(), data.output)
    assert "clips 7, now 5" in told(
        damaged_data._replace(output=data.output), capsys
    )
    assert "'crf': 24" in told(data, capsys, "--crf=26")
    assert "tar False, now True" in told(data, capsys, "--tar=true")


def test_a_folder_of_other_things_is_not_touched(
    data: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(data.root)
    assert "is neither empty nor an ingested copy" in told(
        data._replace(output=data.root), capsys
    )
    assert contents(data.root) == before


def test_a_copy_that_would_change_nothing_is_refused(
    data: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give one of the two" in told(data, capsys, "--reencode=false")
    assert not data.output.exists()


@pytest.fixture
def frame_folders(tmp_path: Path) -> Iterator[Path]:
    """Something-Something V1 as it comes: a folder of JPEG files a video."""
    root = tmp_path / "ssv1"
    for number in range(1, 5):
        folder = root / "20bn-something-something-v1" / str(number)
        folder.mkdir(parents=True)
        for index, picture in enumerate(moving(12), start=1):
            av.VideoFrame.from_ndarray(picture, format="rgb24").save(
                folder / f"{index:05d}.jpg"
            )
    (root / "something-something-v1-labels.csv").write_text(
        "Doing something\nDoing nothing\n"
    )
    for split, rows in (
        ("train", "1;Doing something\n2;Doing nothing\n"),
        ("validation", "3;Doing nothing\n"),
    ):
        (root / f"something-something-v1-{split}.csv").write_text(rows)
    return root


def test_frame_images_become_videos(
    frame_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "class_path": "SomethingSomethingV1",
        "init_args": {"root": str(frame_folders)},
    }
    config["init_args"]["sampling"] = {"class_path": "SegmentSampling"}
    (tmp_path / "v1.yaml").write_text(yaml.safe_dump({"data": config}))
    data = DataSet(frame_folders, tmp_path / "v1.yaml", tmp_path / "copy")
    assert data.ingest() == 0
    storage = IngestedCopy(data.output)
    assert len(storage) == 3
    with open_video(storage.source("20bn-something-something-v1/2")) as video:
        assert (video.num_frames, video.fps, video.info().codec) == (12, 12, "h264")
    other = data._replace(output=tmp_path / "other")
    assert "frame images only become a video by re-encoding" in told(
        other, capsys, "--tar=true", "--reencode=false"
    )
