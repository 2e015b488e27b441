from pathlib import Path

import pytest

from data_modules.sampling import SegmentSampling
from data_modules.sets.folder import VideoFolder


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def folder(root: Path) -> VideoFolder:
    return VideoFolder(str(root), sampling=SegmentSampling(2), num_workers=0)


def test_classes_are_sorted_folders_and_other_files_are_left_alone(tmp_path: Path):
    names = [f"train/b/{stem}" for stem in ("2.MP4", "1.webm", "notes.txt")] + ["train/a/9.avi", "train/readme.md"]
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
    with pytest.raises(FileNotFoundError, match="train: no such folder; expected train/<class>"):
        folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="val: no such folder"):
        folder(touch(tmp_path, "train/a/1.mp4")).setup("fit")


def test_no_classes(tmp_path: Path):
    with pytest.raises(ValueError, match="train: holds no class folders"):
        folder(touch(tmp_path, "train/1.mp4"))


def test_a_class_that_training_lacks(tmp_path: Path):
    with pytest.raises(ValueError, match=r"val: class folders \['c'\] are not among the 1 of train"):
        folder(touch(tmp_path, "train/a/1.mp4", "val/a/1.mp4", "val/c/1.mp4")).setup("validate")


def test_a_split_without_videos(tmp_path: Path):
    with pytest.raises(
        ValueError, match="train: holds no class folders with videos; expected one folder of videos for each"
    ):
        folder(touch(tmp_path, "train/a/1.txt", "val/a/1.mp4"))
    with pytest.raises(ValueError, match="val: holds no class folders"):
        folder(touch(tmp_path / "two", "train/a/1.mp4", "val/a/1.txt")).setup("fit")


def test_a_folder_without_videos_is_no_class(tmp_path: Path):
    data = folder(touch(tmp_path, "train/.checkpoints/1.txt", "train/b/1.mp4", "val/b/1.mp4"))
    assert data.labels == ["b"]
