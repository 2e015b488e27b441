"""What makes a video another one, and what does not."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_modules.storage import content
from data_modules.storage.content import (
    Content,
    Place,
    changed,
    content_of,
    contents_of,
    describe_changed,
    sample_of,
)
from data_modules.video.source import Source

SIZE = 300_000


def bytes_of(seed: int, size: int = SIZE) -> bytes:
    return b"".join(
        hashlib.sha256(f"{seed} {n}".encode()).digest()
        for n in range(size // 32 + 1)
    )[:size]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes_of(0))
    os.utime(path, ns=(10**18, 10**18 + 5))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.jpg").write_bytes(bytes_of(number, 2000))
    return folder


def test_numbers_of_a_file(file: Path) -> None:
    found = content_of(file)
    assert found[:2] == (SIZE, 10**18 + 5)
    assert found.sha256 == hashlib.sha256(bytes_of(0)).hexdigest()


def put(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def at(place: float) -> bytes:
    """The file with one other byte, of the same size."""
    content = bytearray(bytes_of(0))
    content[int(place * (SIZE - 1))] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        put(bytes_of(1)),
        put(bytes_of(0)[:-1]),
        put(b""),
        put(at(0)),
        put(at(1)),
        Path.unlink,
    ],
    ids=["other", "shorter", "empty", "first byte", "last byte", "gone"],
)
def test_a_replaced_file(file: Path, change: Callable[[Path], object]) -> None:
    held = content_of(file)
    change(file)
    assert changed([file], [held]) == [0]
    assert changed([file], [held], verify=True) == [0]


def test_a_copy_is_the_same_whatever_its_time(file: Path, tmp_path: Path) -> None:
    held = content_of(file)
    for copy in (shutil.copyfile, shutil.copy2):
        copy(file, tmp_path / "b.mp4")
        assert changed([tmp_path / "b.mp4"], [held]) == []
        assert sample_of(tmp_path / "b.mp4") == held.sample


def test_what_was_replaced_within_the_same_nanosecond_is_found_by_a_spot_check(
    file: Path,
) -> None:
    held = content_of(file)
    file.write_bytes(bytes_of(1))
    os.utime(file, ns=(0, held.modified))
    assert changed([file], [held]) == [0]


def test_only_all_bytes_tell_of_a_byte_between_the_blocks(file: Path) -> None:
    held = content_of(file)
    file.write_bytes(at(0.2))
    assert changed([file], [held]) == []
    assert changed([file], [held], verify=True) == [0]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "07.jpg").unlink(),
        lambda folder: (folder / "07.jpg").rename(folder / "99.jpg"),
        lambda folder: [
            (folder / f"{n:02}.jpg").write_bytes(bytes_of(n + 1, 2000))
            for n in range(40)
        ],
        lambda folder: (folder / "40.jpg").write_bytes(b"x"),
    ],
    ids=["one less", "another name", "all others", "one more"],
)
def test_a_folder_of_images(images: Path, change: Callable[[Path], object]) -> None:
    held = content_of(images)
    assert held.size == 40
    shutil.copytree(images, images.parent / "copy", copy_function=shutil.copyfile)
    assert changed([images.parent / "copy"], [held], verify=True) == []
    assert changed([images.parent / "copy"], [held]) == []
    change(images)
    assert changed([images], [held]) == [0]
    assert changed([images], [held], verify=True) == [0]


def test_parts_of_a_file(tmp_path: Path) -> None:
    shard = tmp_path / "shard.tar"
    shard.write_bytes(bytes_of(0) + bytes_of(1) + bytes_of(2))
    places: list[Place] = [Source(shard, n * SIZE, SIZE) for n in range(3)]
    held = list(contents_of(places))
    assert [entry and entry.sha256 for entry in held] == [
        hashlib.sha256(bytes_of(n)).hexdigest() for n in range(3)
    ]
    shard.write_bytes(bytes_of(0) + bytes_of(4) + bytes_of(2))
    for verify in (False, True):
        assert changed(places, held, verify=verify) == [1]
    shard.write_bytes(bytes_of(0) + bytes_of(1))
    assert changed(places, held) == [2]


def test_little_is_read_where_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand files of the same size and time: 64 of them are opened, and those of another time."""
    paths = [tmp_path / f"{n}.mp4" for n in range(1000)]
    for path in paths:
        path.write_bytes(b"x")
    held = list(contents_of(paths))
    read, real = list[Place](), content.sample_of
    monkeypatch.setattr(
        content, "sample_of", lambda place: read.append(place) or real(place)
    )
    assert changed(paths, held) == []
    assert len(read) == len(set(read)) == content.SPOT_CHECKS
    read.clear()
    for path in paths[:100]:
        os.utime(path, (1, 1))
    assert changed(paths, held) == []
    assert set(paths[:100]) < set(read)
    assert len(read) == 100 + content.SPOT_CHECKS


def test_times_of_archives_are_whole_seconds() -> None:
    assert content.same_time(7 * 10**9, 7 * 10**9 + 5)
    assert not content.same_time(7 * 10**9 + 4, 7 * 10**9 + 5)
    assert not content.same_time(7 * 10**9, 8 * 10**9)


def test_what_is_describe_changed() -> None:
    sentence = describe_changed(
        range(7), list("abcdefgh"), "videos", "the cache was built from"
    )
    assert (
        sentence
        == "7 of 8 videos are not those that the cache was built from: a, b, c, d, e, ..."
    )
    assert (
        describe_changed([1], ["a", "b"], "clips", "x")
        == "1 of 2 clips are not those that x: b"
    )


def test_what_is_not_known_is_another(file: Path) -> None:
    assert changed([file, file], [None, Content(1, 1, "", "")]) == [0, 1]
    assert changed([file], [None], verify=True) == [0]
