import warnings
from pathlib import Path

import pytest

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets.video.video_folder import VideoFolder


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def folder(root: Path) -> VideoFolder:
    return VideoFolder(str(root), sampling=SegmentSampling(2), num_workers=0)


def test_classes_are_sorted_folders_and_other_files_are_left_alone(tmp_path: Path):
    names = [f"train/b/{stem}" for stem in ("2.MP4", "1.webm", "notes.txt")] + [
        "train/a/9.avi",
        "train/readme.md",
    ]
    data = folder(touch(tmp_path, *names, "val/a/8.mkv", "val/b/7.mov"))
    assert data.labels == ["a", "b"]
    found = [(clip.clip_id, clip.label) for clip in data.clips("train")]
    assert found == [("a/9.avi", 0), ("b/1.webm", 1), ("b/2.MP4", 1)]
    assert data.clips("train")[0].path == tmp_path / "train/a/9.avi"
    assert [clip.clip_id for clip in data.clips("val")] == ["a/8.mkv", "b/7.mov"]


def test_test_is_val_unless_there_is_one(tmp_path: Path):
    data = folder(touch(tmp_path, "train/a/1.mp4", "train/b/1.mp4", "val/b/2.mp4"))
    assert [clip[::2] for clip in data.clips("test")] == [("b/2.mp4", 1)]
    touch(tmp_path, "test/a/3.mp4")
    assert [clip[::2] for clip in data.clips("test")] == [("a/3.mp4", 0)]


def test_missing_folders(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match="train: no such folder; expected train/<class>"
    ):
        folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="val: no such folder"):
        folder(touch(tmp_path, "train/a/1.mp4")).setup("fit")


def test_no_classes(tmp_path: Path):
    with pytest.raises(ValueError, match="train: holds no class folders"):
        folder(touch(tmp_path, "train/1.mp4"))


def test_a_class_that_training_lacks(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"val: class folders \['c'\] are not among the 1 of train"
    ):
        folder(
            touch(tmp_path, "train/a/1.mp4", "val/a/1.mp4", "val/c/1.mp4")
        ).setup("validate")


def test_a_split_without_videos(tmp_path: Path):
    with pytest.raises(
        ValueError,
        match="train: holds no class folders with videos; expected one folder of videos for each",
    ):
        folder(touch(tmp_path, "train/a/1.txt", "val/a/1.mp4"))
    with pytest.raises(ValueError, match="val: holds no class folders"):
        folder(touch(tmp_path / "two", "train/a/1.mp4", "val/a/1.txt")).setup("fit")


def test_a_folder_without_videos_is_no_class(tmp_path: Path):
    data = folder(
        touch(tmp_path, "train/.checkpoints/1.txt", "train/b/1.mp4", "val/b/1.mp4")
    )
    assert data.labels == ["b"]


def seen(root: Path) -> tuple[list[str], list[str]]:
    """The classes and what is told when training is set up."""
    data = folder(root)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data.setup("fit")
    return data.labels, [str(warning.message) for warning in told]


@pytest.mark.parametrize(
    "hidden", [".ipynb_checkpoints", ".Trash-1000", "@eaDir", "__MACOSX", ".git"]
)
def test_hidden_folders_are_no_classes_and_hidden_files_no_videos(
    hidden: str, tmp_path: Path
):
    touch(
        tmp_path,
        "train/a/1.mp4",
        "train/b/2.mp4",
        f"train/{hidden}/1.mp4",
        f"train/a/{hidden}/3.mp4",
    )
    touch(
        tmp_path,
        "val/a/4.mp4",
        "val/b/._5.mp4",
        "val/b/.DS_Store",
        "val/b/Thumbs.db",
        "val/b/6.mp4",
    )
    assert seen(tmp_path) == (["a", "b"], [])
    assert [clip.clip_id for clip in folder(tmp_path).clips("val")] == [
        "a/4.mp4",
        "b/6.mp4",
    ]


def test_what_is_passed_over_is_counted_once_by_suffix(tmp_path: Path):
    touch(
        tmp_path,
        "train/a/1.mp4",
        "train/notes.txt",
        *(f"train/a/{n}.txt" for n in range(9)),
        "train/a/t.jpg",
    )
    touch(tmp_path, "val/a/1.mp4", "val/a/x/README")
    (tmp_path / "train" / "b").symlink_to("gone")
    assert seen(tmp_path)[1] == [
        f"{tmp_path / 'train'}: passed over 12 file(s) that are no videos: .txt 10, .jpg 1, links that lead nowhere 1",
        f"{tmp_path / 'val'}: passed over 1 file(s) that are no videos: without suffix 1",
    ]


def test_folders_inside_class_folders_are_told(tmp_path: Path):
    touch(
        tmp_path,
        "train/a/1.mp4",
        "train/a/x/2.mp4",
        "train/a/x/y/3.mp4",
        "val/a/4.mp4",
    )
    (told,) = seen(tmp_path)[1]
    assert (
        "train: 1 folder(s) hold 2 video(s) in folders of their own, such as a/x, which are not read"
        in told
    )
    assert "VideoList" in told


@pytest.mark.parametrize("beside", [(), ("train/b/1.mp4",)])
def test_a_class_with_all_its_videos_too_deep_is_refused(
    beside: tuple[str, ...], tmp_path: Path
):
    touch(
        tmp_path, "train/a/anna/1.mp4", "train/a/bert/2.mp4", *beside, "val/a/4.mp4"
    )
    with pytest.raises(
        ValueError,
        match=r"train: .*hold 2 video\(s\) in folders of their own, such as a/anna, a/bert",
    ):
        folder(tmp_path)


def test_empty_classes_loose_videos_and_classes_that_validation_lacks_are_told(
    tmp_path: Path,
):
    touch(tmp_path, "train/a/1.mp4", "train/b/1.mp4", "train/x.mp4", "val/a/1.mp4")
    (tmp_path / "train" / "empty").mkdir()
    labels, told = seen(tmp_path)
    assert labels == ["a", "b"]
    assert told == [
        f"{tmp_path / 'train'}: 1 video(s), x.mp4, lie beside the class folders and belong to no class",
        f"{tmp_path / 'train'}: 1 class folder(s) hold no video and are no classes: empty",
        f"{tmp_path / 'val'}: holds no video of 1 of the 2 classes of train: b",
    ]


def test_folders_of_frames_are_videos(tmp_path: Path):
    touch(
        tmp_path,
        *(f"train/a/clip/{n:05d}.jpg" for n in range(3)),
        "train/a/2.mp4",
        "val/a/3.mp4",
    )
    assert [clip.clip_id for clip in folder(tmp_path).clips("train")] == [
        "a/2.mp4",
        "a/clip",
    ]


def test_a_link_of_a_video_that_is_gone_is_a_missing_video(tmp_path: Path):
    touch(tmp_path, "train/a/1.mp4", "val/a/2.mp4")
    (tmp_path / "train/a/3.mp4").symlink_to("gone.mp4")
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of the 2 videos of the train split are missing: .*a/3\.mp4",
    ):
        folder(tmp_path).setup("fit")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train/a/1.jpg", "train/b/2.jpg"],
            r"train: holds no class folders with videos.* there are 2 image\(s\)",
        ),
        (
            ["train/1.mp4"],
            r"train: holds no class folders with videos.* there are 1 video\(s\), 1\.mp4, without class",
        ),
        (
            ["train/a/1.txt"],
            r"train: holds no class .* there are files, but no videos: \.txt 1",
        ),
        (
            ["a/1.mp4", "b/2.mp4"],
            r"train: no such folder; .* holds 2 folder\(s\) of videos, a, b: if these are the c",
        ),
        (
            ["1.mp4"],
            r"train: no such folder; .* holds 1 video\(s\), 1\.mp4, without folders of splits",
        ),
        (
            ["training/a/1.mp4"],
            r"train: no such folder; .*there is .*training: rename it to train",
        ),
        (
            ["Train/a/1.mp4"],
            r"train: no such folder; .*there is .*Train: rename it to train",
        ),
        (
            ["other/list.txt"],
            r"train: no such folder; .* holds the folder\(s\) other",
        ),
        (
            ["list.txt"],
            r"train: no such folder; .* holds files, but no folders: \.txt 1",
        ),
    ],
)
def test_what_is_there_instead_is_told(
    names: list[str], message: str, tmp_path: Path
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        folder(touch(tmp_path, *names))


def test_an_empty_and_a_missing_root(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"train: no such folder; .* is empty"
    ):
        folder(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match=r"nowhere: no such folder; expected in it train/<class>",
    ):
        folder(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(
        ValueError,
        match=r"train: holds no class folders with videos; .* it is empty",
    ):
        folder(tmp_path)


@pytest.mark.parametrize(
    ("there", "split"), [("validation", "validate"), ("testing", "test")]
)
def test_a_split_of_another_name_is_not_guessed(
    there: str, split: str, tmp_path: Path
):
    touch(
        tmp_path,
        "train/a/1.mp4",
        f"{there}/a/2.mp4",
        *(["val/a/3.mp4"] if split == "test" else []),
    )
    with pytest.raises(
        FileNotFoundError,
        match=f"there is .*{there}: rename it to {there[:3].replace('tes', 'test')}",
    ):
        folder(tmp_path).setup(split)
