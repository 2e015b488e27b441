"""What is predicted of a path: videos and folders of frames, and one sentence on what is neither."""

from pathlib import Path

import pytest

from data_modules.storage.search import existing, videos_below
from tests.data_modules.sets.test_video_folder import touch


def names(path: Path) -> list[str]:
    return [clip.clip_id for clip in videos_below(path)[0]]


def test_every_suffix_and_folder_but_nothing_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b.MTS", "a/x.wmv", "a/b/y.gif", "frames/1.jpg", "frames/2.jpg")
    touch(tmp_path, "._b.mp4", ".git/z.mp4", "@eaDir/b.mp4", "a/.DS_Store")
    clips, passed_over = videos_below(tmp_path)
    assert [clip.clip_id for clip in clips] == [
        "a/b/y.gif",
        "a/x.wmv",
        "b.MTS",
        "frames",
    ]
    assert {clip.label for clip in clips} == {-1}
    assert passed_over == ""


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.mp4",
        "1.txt",
        "a/2.txt",
        "a/cover.jpg",
        "frames/1.png",
        "frames/2.png",
        "frames/about.md",
    )
    assert (
        videos_below(tmp_path)[1]
        == "predict_path: passed over 4 file(s) that are no videos: .txt 2, .jpg 1, .md 1"
    )


def test_a_file_and_a_folder_of_frames_stand_for_themselves(tmp_path: Path) -> None:
    touch(tmp_path, "clip/00001.jpg", "clip/00002.jpg", "odd.name")
    assert names(tmp_path / "clip") == ["clip"]
    assert names(tmp_path / "odd.name") == [
        "odd.name"
    ]  # what a user names is tried


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert names(tmp_path) == ["a/1.mp4"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "predict_path: no video .* it is empty"),
        (
            ["cat.jpg", "dog.jpg", "a.txt"],
            r"predict_path: no video .* it holds 3 file\(s\) .*: \.jpg 2, \.txt 1",
        ),
        ([".git/1.mp4"], "predict_path: no video .* it is empty"),
    ],
)
def test_where_no_video_is_it_is_told_what_is(
    files: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        videos_below(touch(tmp_path, *files))


def test_an_image_and_nothing_at_all_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"predict_path: .*cat\.jpg is an image; give a video"
    ):
        videos_below(touch(tmp_path, "cat.jpg") / "cat.jpg")
    with pytest.raises(
        FileNotFoundError,
        match=r"predict_path: .*nowhere is neither a video file nor a folder",
    ):
        existing(tmp_path / "nowhere")
