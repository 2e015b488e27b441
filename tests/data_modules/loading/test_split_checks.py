"""A video in two splits, a class that is gone, and classes that a list lacks are told."""

from pathlib import Path

import pytest

from data_modules.loading import split_checks
from data_modules.loading.split_checks import (
    alike_classes,
    fewer_classes,
    lost_classes,
    shared_videos,
)
from data_modules.sample import Clip
from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.storage.files import Files
from tests.data_modules.sets.test_data_sets import MODULES
from tests.data_modules.sets.test_mirrored import OPTIONS, listed
from tests.layouts import lay_out


def clip(path: Path, content: bytes | None = None, label: int = 0) -> Clip:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    return Clip(f"{path.parent.name}/{path.name}", path, label)


LARGE = bytes(range(256)) * 4096  # 1 MiB: more than the three parts that are read


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("run", "Run"),
        ("run", "run "),
        ("a run", "a\u00a0run"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_classes_that_look_the_same_are_told(one: str, other: str) -> None:
    assert f"{one!a} and {other!a}" in alike_classes(["walk", one, other])
    assert alike_classes(["walk", one, "a jump"]) == ""


def test_equal_bytes_under_other_names_are_told(tmp_path: Path) -> None:
    train = [
        clip(tmp_path / "train" / name, content)
        for name, content in (("1.mp4", b"one"), ("2.mp4", LARGE))
    ]
    other = [
        clip(tmp_path / "val" / name, content)
        for name, content in (("x.mp4", LARGE), ("y.mp4", b"two"))
    ]
    told = shared_videos(train, other, "val")
    assert told.startswith(
        "1 of the 2 clips of the val split are clips of training, too: val/x.mp4 is train/2.mp4; "
    )


@pytest.mark.parametrize("place", [0, len(LARGE) // 2, len(LARGE) - 1])
def test_one_byte_at_an_end_or_in_the_middle_tells_two_files_apart(
    place: int, tmp_path: Path
) -> None:
    other = bytearray(LARGE)
    other[place] ^= 1
    train, val = (
        [clip(tmp_path / "a/1.mp4", LARGE)],
        [clip(tmp_path / "b/1.mp4", bytes(other))],
    )
    assert shared_videos(train, val, "val") == ""


def test_one_file_under_several_paths_is_told(tmp_path: Path) -> None:
    train = [
        clip(tmp_path / "train/1.mp4", b"one"),
        clip(tmp_path / "train/2.mp4", b"two"),
    ]
    (tmp_path / "link.mp4").symlink_to(tmp_path / "train/1.mp4")
    assert "link.mp4 is train/1.mp4" in shared_videos(
        train, [clip(tmp_path / "link.mp4")], "test"
    )
    assert "2 of the 2 clips of the val split" in shared_videos(train, train, "val")


def test_missing_and_empty_files_and_folders_of_frames_are_no_twins(
    tmp_path: Path,
) -> None:
    for split in ("a", "b"):
        (tmp_path / split / "frames").mkdir(parents=True)
    of = {split: [clip(tmp_path / split / "gone.mp4"), clip(tmp_path / split / "empty.mp4", b""),
                  clip(tmp_path / split / "frames")] for split in ("a", "b")}  # fmt: skip
    assert shared_videos(of["a"], of["b"], "val") == ""


def test_a_folder_of_frames_under_another_name_is_told(tmp_path: Path) -> None:
    frames = {
        "train/1": b"abcd",
        "train/2": b"abce",
        "val/x": b"abcd",
        "val/y": b"abxd",
        "val/z": b"abc",
    }
    for name, images in frames.items():
        for number, content in enumerate(images):
            clip(tmp_path / f"{name}/{number}.jpg", bytes([content]))
    train, val = [
        [clip(path) for path in sorted((tmp_path / split).iterdir())]
        for split in ("train", "val")
    ]
    assert (
        "1 of the 3 clips of the val split are clips of training, too: val/x is train/1"
        in shared_videos(train, val, "val")
    )


def test_no_byte_is_read_where_sizes_differ_and_no_size_asked_for_in_large_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val = (
        [clip(tmp_path / "a/1.mp4", b"one")],
        [clip(tmp_path / "b/1.mp4", b"other")],
    )
    monkeypatch.setattr(split_checks, "_hash", None)  # would fail
    assert shared_videos(train, val, "val") == ""
    monkeypatch.setattr(split_checks, "_size", None)
    monkeypatch.setattr(split_checks, "_MOST_MEASURED", 1)
    assert shared_videos(train, val, "val") == ""
    assert "1 of the 1 clips" in shared_videos(train, train, "val")


@pytest.mark.parametrize(("stage", "split"), [("fit", "val"), ("test", "test")])
def test_the_data_module_tells_of_them(
    stage: str, split: str, tmp_path: Path
) -> None:
    for name in ("train/a/1.mp4", "val/a/2.mp4"):
        clip(tmp_path / name, b"the same")
    data = VideoFolder(str(tmp_path), sampling=SegmentSampling(2))
    with pytest.warns(
        UserWarning,
        match=rf"1 of the 1 clips of the {split} split .*: a/2\.mp4 is a/1\.mp4",
    ):
        data.setup(stage)


def test_lost_classes() -> None:
    clips = [Clip(str(n), Path(str(n)), n % 3) for n in range(9)]
    labels = ["run", "walk", "sit"]
    assert lost_classes(clips, clips[:3], labels) == ""
    assert lost_classes(clips, clips[:1], labels).startswith(
        "with them every clip of 2 class(es): walk, sit. A class"
    )
    assert (
        lost_classes(clips, clips[:1], []) == ""
    )  # labels of captioned videos are numbers of videos


def test_a_class_cannot_be_left_out(tmp_path: Path) -> None:
    data = listed(
        tmp_path, ["run", "walk"], files=Files(missing="leave_out"), **OPTIONS
    )
    (tmp_path / "train_1.mp4").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of the 2 .* every clip of 1 class\(es\): walk\. A class cannot",
    ):
        data.setup("fit")


def test_fewer_classes_than_published() -> None:
    clips = [Clip(str(n), Path(str(n)), n % 2) for n in range(9)]
    assert fewer_classes(clips, 51, "HMDB51").startswith(
        "2 of the 51 classes of HMDB51 have clips in the list of tr"
    )
    assert (
        fewer_classes(clips, 2, "HMDB51")
        == fewer_classes(clips, None, "VideoList")
        == ""
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hmdb51", "2 of the 51 classes of HMDB51 have clips"),
        ("ucf101", "2 of the 101 classes of UCF101 have clips"),
        ("ssv1", "2 of the 174 classes of SomethingSomethingV1 have clips"),
        ("ssv2", "2 of the 174 classes of SomethingSomething have clips"),
        ("diving48", "2 of the 48 classes of Diving48 have clips"),
        ("k400", "2 classes are listed in .*; Kinetics has 400, 600 or 700"),
    ],
)
def test_every_published_data_set_tells_of_it(
    name: str, message: str, tmp_path: Path
) -> None:
    data = MODULES[name](str(lay_out(name, tmp_path)), **OPTIONS)
    with pytest.warns(UserWarning, match=message):
        data.setup("fit")
