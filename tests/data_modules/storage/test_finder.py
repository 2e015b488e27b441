"""Videos are found by their names without suffix, in the folder of their class or in none."""

from pathlib import Path

import pytest

from data_modules.storage.finder import Finder, Wanted, plain_times
from data_modules.storage.folders import Folders
from tests.data_modules.sets.test_video_folder import touch

LABELS = ["playing piano", "petting animal (not cat)", "wave"]


def finder(root: Path, *places: str, depth: int = 2, **options: object) -> Finder:
    return Finder(
        Folders(root),
        [root / place for place in places or ("",)],
        depth=depth,
        labels=LABELS,
        **options,
    )  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "name",
    [
        "x.mp4", "x.MKV", "x.webm", "x.mp4.webm", "playing piano/x.avi", "playing_piano/x.avi", "part_1/x.mp4",

    ],
)  # fmt: skip
def test_suffix_and_folder_may_differ(name: str, tmp_path: Path) -> None:
    touch(tmp_path, name, "y.mp4")
    found = finder(tmp_path).find(
        [Wanted(tmp_path / "playing_piano/x.mp4", "playing piano")]
    )
    assert found == ([tmp_path / name], "")


def test_the_folder_of_another_class_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "wave/x.mp4")
    expected = tmp_path / "playing_piano" / "x.mp4"
    assert finder(tmp_path).find([Wanted(expected, "playing piano")]) == (
        [expected],
        "",
    )
    touch(tmp_path, "petting animal (not cat)/x.mp4")
    wanted = [
        Wanted(expected, "petting animal (not cat)"),
        Wanted(expected, "wave"),
    ]
    found = finder(tmp_path).find(wanted).paths
    assert [path.parent.name for path in found] == [
        "petting animal (not cat)",
        "wave",
    ]


def test_what_is_nowhere_is_where_it_would_be(tmp_path: Path) -> None:
    touch(tmp_path, "x.txt", "wave/other.mp4")
    expected = tmp_path / "wave" / "x.mp4"
    assert finder(tmp_path, "", "elsewhere").find([Wanted(expected, "wave")]) == (
        [expected],
        "",
    )


def test_two_of_one_name_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "x.webm", "x.mp4", "y.mp4", "y.m4v", "z.mp4")
    wanted = [Wanted(tmp_path / f"{name}.mp4") for name in "xyz"]
    found = finder(tmp_path).find(wanted)
    assert [path.name for path in found.paths] == ["x.mp4", "y.mp4", "z.mp4"]
    assert found.doubled.startswith(
        f"2 video(s) are there under two names or more, such as {tmp_path / 'x.mp4'} and "
    )


def test_a_video_goes_before_a_folder_of_its_frames(tmp_path: Path) -> None:
    touch(tmp_path, "x.webm", "x/00001.jpg", "y/00001.jpg")
    found = finder(tmp_path, depth=1).find(
        [Wanted(tmp_path / "x.mp4"), Wanted(tmp_path / "y.mp4")]
    )
    assert found == ([tmp_path / "x.webm", tmp_path / "y"], "")


def test_earlier_places_go_first_and_later_ones_fill_up(tmp_path: Path) -> None:
    touch(tmp_path, "one/x.mp4", "two/x.mp4", "two/y.mp4")
    found = finder(tmp_path, "one", "two").find(
        [Wanted(tmp_path / "x.mp4"), Wanted(tmp_path / "y.mp4")]
    )
    assert found == ([tmp_path / "one/x.mp4", tmp_path / "two/y.mp4"], "")


def test_no_deeper_than_asked(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/x.mp4")
    wanted = [Wanted(tmp_path / "x.mp4")]
    assert finder(tmp_path, depth=2).find(wanted).paths == [tmp_path / "x.mp4"]
    assert finder(tmp_path, depth=3).find(wanted).paths == [tmp_path / "a/b/x.mp4"]


def test_times_are_compared_as_numbers(tmp_path: Path) -> None:
    assert plain_times("a_000005_000015") == plain_times("a_5_15") == "a_5_15"
    assert plain_times("a_000000_000010") == "a_0_10"
    assert plain_times("_-a_0005") == "_-a_0005"
    touch(tmp_path, "a_5_15.mp4")
    wanted = [Wanted(tmp_path / "a_000005_000015.mp4")]
    assert finder(tmp_path, same=plain_times).find(wanted).paths == [
        tmp_path / "a_5_15.mp4"
    ]


def test_what_the_places_hold_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "one/a/x.mp4", "one/b/x.mp4", "one/list.txt")
    told = finder(tmp_path, "one", "two").seen()
    assert (
        f"{tmp_path / 'one'} holds 2 folder(s) (a, b) and files .txt 1 (such as list.txt)"
        in told
    )
    assert f"there is no folder {tmp_path / 'two'}" in told


def test_250_000_files_take_seconds(tmp_path: Path) -> None:
    """Of names alone, as the reading of a real folder gives them; 5,000 here, for a quadratic search would show."""
    for number in range(5000):
        (tmp_path / f"{number:06d}.mp4").touch()
    found = finder(tmp_path).find(
        [Wanted(tmp_path / f"{number:06d}.webm") for number in range(5000)]
    )
    assert all(path.suffix == ".mp4" for path in found.paths)
