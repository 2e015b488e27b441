"""What counts as data in a folder, on disk and in an ingested copy."""

import os
from pathlib import Path

import pytest

from data_modules.storage import folders as module
from data_modules.storage.copy_index import CopyEntry, write_index
from data_modules.storage.files import Files
from data_modules.storage.folders import (
    Folders,
    Listing,
    by_suffix,
    counted,
    is_data,
    listed,
    read,
)
from tests.data_modules.sets.test_video_folder import touch


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store", "._1.mp4", ".ipynb_checkpoints", ".git", ".Trash-1000", "@eaDir", "__MACOSX", "Thumbs.db",
        "desktop.ini", "$RECYCLE.BIN", "#recycle", "lost+found", "System Volume Information",
    ],
)  # fmt: skip
def test_what_systems_leave_behind_is_no_data(name: str) -> None:
    assert not is_data(name)


@pytest.mark.parametrize(
    "name", ["1.mp4", "_x.mp4", "a.b", "#1", "@me", "__x__.avi", "thumbs"]
)
def test_what_is_data(name: str) -> None:
    assert is_data(name)


def test_a_folder_is_read_without_what_is_no_data_and_without_dead_links(
    tmp_path: Path,
) -> None:
    touch(
        tmp_path, "b.mp4", "a.txt", "z/1.mp4", "y/1.mp4", ".hidden", "@eaDir/1.mp4"
    )
    (tmp_path / "link.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "linked").symlink_to(tmp_path / "z")
    found = read(tmp_path)
    assert found == (
        ("a.txt", "b.mp4", "link.mp4"),
        ("linked", "y", "z"),
        {".hidden", "@eaDir"},
        ("dead.mp4",),
    )
    assert "dead.mp4" not in Folders(tmp_path).names(tmp_path)
    assert read(tmp_path / "nothing") is None
    assert read(tmp_path / "b.mp4") is None


def test_each_folder_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.mp4", "a/2.mp4")
    scanned = list[str]()

    def scandir(path: Path) -> object:
        scanned.append(path.name)
        return original(path)

    original = os.scandir
    monkeypatch.setattr(module.os, "scandir", scandir)
    folders = Folders(tmp_path)
    assert folders.content(tmp_path / "a").files == ("1.mp4", "2.mp4")
    assert folders.names(tmp_path / "a") == {"1.mp4", "2.mp4"}
    assert folders.exists(tmp_path / "a")
    assert scanned == ["a"]


def test_a_folder_that_comes_later_is_seen(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    assert folders.content(tmp_path / "later") == Listing()
    touch(tmp_path, "later/1.mp4")
    assert folders.content(tmp_path / "later").files == ("1.mp4",)


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["00001.jpg", "00002.jpg"], True),
        (["img_9.PNG", "img_10.PNG", "notes.txt"], True),
        (["1.jpg", "2.jpg", "x.mp4"], False),
        (["cat.jpg", "dog.jpg"], False),
        (["00001.jpg"], False),
        ([], False),
    ],
)
def test_a_folder_of_frames_is_a_series_of_images(
    names: list[str], frames: bool, tmp_path: Path
) -> None:
    (tmp_path / "clip").mkdir()
    touch(tmp_path, *(f"clip/{name}" for name in names))
    assert Folders(tmp_path).holds_frames(tmp_path / "clip") == frames


def test_folders_that_are_gone_are_as_the_copy_knows_them(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    names = [
        "videos/2.webm",
        "videos/1.mp4",
        "videos/a/3.mp4",
        "videos/frames",
        "others/4.mp4",
        "/data/5.mp4",
    ]
    write_index(
        tmp_path / "copy",
        [
            CopyEntry(name, "x.mp4", 0, 1, 1, "", "encoded", "", 40.0, 1, 1.0)
            for name in names
        ],
    )
    root = tmp_path / "root"
    folders = Files(ingested=str(tmp_path / "copy")).folders(root)
    assert folders.content(root / "videos")[:2] == (
        ("1.mp4", "2.webm"),
        ("a", "frames"),
    )
    assert folders.content(root / "videos" / "a").files == ("3.mp4",)
    assert folders.content(root).folders == ("others", "videos")
    assert folders.content(Path("/data")).files == ("5.mp4",)
    assert folders.holds_frames(root / "videos" / "frames")
    assert not folders.exists(root / "nothing")
    assert not Files().folders(root).exists(root / "videos")


def test_what_is_on_disk_goes_before_the_copy(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    write_index(
        tmp_path / "copy",
        [
            CopyEntry(
                "videos/1.mp4", "x.mp4", 0, 1, 1, "", "encoded", "", 40.0, 1, 1.0
            )
        ],
    )
    touch(tmp_path, "root/videos/6.mp4")
    folders = Files(ingested=str(tmp_path / "copy")).folders(tmp_path / "root")
    assert folders.content(tmp_path / "root" / "videos").files == ("6.mp4",)


def test_counts_and_lists_for_a_reader() -> None:
    assert (
        counted(by_suffix(["a.txt", "b.TXT", "c.jpg", "README"]))
        == ".txt 2, .jpg 1, without suffix 1"
    )
    assert listed("abc") == "a, b, c"
    assert listed("abcdefg", 2) == "a, b, ..."
