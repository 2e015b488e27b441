"""Published data sets as their own scripts and other code lay them out: the same clips are found in each layout."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_modules.loading.data_module import VideoDataModule
from data_modules.sets import MSRVTT, MSVD, VATEX
from data_modules.storage.files import Files
from tests import caption_layouts
from tests.data_modules.sets.test_data_sets import MODULES
from tests.data_modules.sets.test_mirrored import OPTIONS
from tests.layouts import lay_out


def flat(root: Path, source: str, target: str) -> None:
    """Move all files below ``source`` into ``target``."""
    files = [path for path in sorted((root / source).rglob("*")) if path.is_file()]
    (root / target).mkdir(parents=True, exist_ok=True)
    for file in files:
        file.rename(root / target / file.name)


def renamed(root: Path, source: str, target: str) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / source).rename(root / target)


def suffixed(root: Path, source: str, suffix: str) -> None:
    for path in sorted((root / source).rglob("*")):
        if path.is_file():
            path.rename(path.with_suffix(suffix))


def with_blanks(root: Path) -> None:
    """As arrange_by_classes.py of cvdfoundation: folders with the labels as they are, links to the flat files."""
    for split in ("train", "val"):
        for folder in sorted((root / split).iterdir()):
            named = root / "videos" / split / folder.name.replace("_", " ")
            named.mkdir(parents=True)
            for file in sorted(folder.iterdir()):
                file.rename(root / f"{file.name}.original")
                (named / file.name).symlink_to(root / f"{file.name}.original")
        shutil.rmtree(root / split)
    renamed(root, "train.csv", "annotations/train.csv")
    renamed(root, "val.csv", "annotations/val.csv")


def nested(root: Path) -> None:
    """As ``unrar x`` leaves an archive a class."""
    for folder in sorted((root / "videos").iterdir()):
        folder.rename(root / "x")
        renamed(root, "x", f"videos/{folder.name}/{folder.name}")


def untimed(root: Path) -> None:
    """Times without leading zeros."""
    for path in sorted(root.rglob("*.mp4")):
        path.rename(
            path.with_name(path.name.replace("_00000", "_").replace("_0000", "_"))
        )


def with_six_digits(root: Path) -> None:
    """Times with leading zeros."""
    for path in sorted((root / "videos").iterdir()):
        path.rename(path.with_name(path.name.replace("_0_8", "_000000_000008")))


LAYOUTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "k400, k400_extractor.sh": ("k400", lambda root: [flat(root, split, split) for split in ("train", "val")]),
    "k400, arrange_by_classes.py": ("k400", with_blanks),
    "k400, mkv": ("k400", lambda root: [suffixed(root, split, ".mkv") for split in ("train", "val")]),
    "k400, mp4.webm of a downloader": ("k400", lambda root: [suffixed(root, s, ".mp4.webm") for s in ("train", "val")]),
    "k400, videos_train": ("k400", lambda root: [renamed(root, s, f"videos_{s}") for s in ("train", "val")]),
    "k400, without leading zeros": ("k400", untimed),
    "ucf101, mp4": ("ucf101", lambda root: suffixed(root, "UCF-101", ".mp4")),
    "ucf101, UCF101": ("ucf101", lambda root: renamed(root, "UCF-101", "UCF101")),
    "ucf101, flat": ("ucf101", lambda root: flat(root, "UCF-101", "videos")),
    "hmdb51, unrar x": ("hmdb51", nested),
    "hmdb51, mp4 in root": ("hmdb51", lambda root: (suffixed(root, "videos", ".mp4"), renamed(root, "videos", "org"))),
    "ssv2, tar in a folder": ("ssv2", lambda root: (
        renamed(root, "20bn-something-something-v2", "x"),
        renamed(root, "x", "20bn-something-something-v2/20bn-something-something-v2"))),
    "ssv2, mp4": ("ssv2", lambda root: suffixed(root, "20bn-something-something-v2", ".mp4")),
    "ssv2, videos": ("ssv2", lambda root: renamed(root, "20bn-something-something-v2", "videos")),
    "ssv1, videos": ("ssv1", lambda root: renamed(root, "20bn-something-something-v1", "videos")),
    "diving48, webm": ("diving48", lambda root: suffixed(root, "rgb", ".webm")),
    "diving48, videos": ("diving48", lambda root: renamed(root, "rgb", "videos")),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_clips_in_every_layout(layout: str, tmp_path: Path) -> None:
    name, change = LAYOUTS[layout]
    root = lay_out(name, tmp_path)
    expected = read(MODULES[name](str(root), **OPTIONS))
    change(root)
    data = MODULES[name](str(root), **OPTIONS)
    data.setup("fit")
    assert read(data) == expected
    assert all(clip.path.exists() for clip in data.located("train"))  # pyright: ignore[reportAttributeAccessIssue]


def read(data: VideoDataModule) -> list[tuple[str, int]]:
    return [
        (clip.clip_id, clip.label)
        for split in ("train", "val")
        for clip in data.clips(split)
    ]


CAPTIONED: dict[str, tuple[str, type[VideoDataModule], Callable[[Path], object]]] = {
    "msrvtt, MSRVTT/videos/all": ("msrvtt_full", MSRVTT, lambda root: renamed(root, "videos", "MSRVTT/videos/all")),
    "msrvtt, videos/all": ("msrvtt_full", MSRVTT, lambda root: (
        renamed(root, "videos", "x"), renamed(root, "x", "videos/all"))),
    "msrvtt, TrainValVideo": ("msrvtt_full", MSRVTT, lambda root: (
        renamed(root, "videos", "TrainValVideo"),
        [renamed(root, f"TrainValVideo/video{n}.mp4", f"TestVideo/video{n}.mp4") for n in range(7, 10)])),
    "msvd, mp4": ("msvd", MSVD, lambda root: suffixed(root, "YouTubeClips", ".mp4")),
    "msvd, MSVD_Videos": ("msvd", MSVD, lambda root: renamed(root, "YouTubeClips", "MSVD_Videos")),
    "vatex, six digits": ("vatex", VATEX, with_six_digits),
    "vatex, webm": ("vatex", VATEX, lambda root: suffixed(root, "videos", ".webm")),
}  # fmt: skip


@pytest.mark.parametrize("layout", CAPTIONED)
def test_captioned_videos_in_every_layout(layout: str, tmp_path: Path) -> None:
    name, module, change = CAPTIONED[layout]
    root = caption_layouts.lay_out(name, tmp_path)
    change(root)
    options = {"split_name": "full"} if module is MSRVTT else {}
    data = module(str(root), **options, **OPTIONS)  # pyright: ignore[reportCallIssue]
    data.setup("fit")
    data.setup("test")
    found = [
        clip for split in ("train", "val", "test") for clip in data.located(split)
    ]
    numbers = [
        int(
            "".join(
                filter(
                    str.isdigit, clip.clip_id.partition("_")[0].partition("#")[0]
                )
            )
        )
        for clip in found
    ]
    assert sorted(set(numbers)) == caption_layouts.EVERY
    assert all(clip.path.exists() for clip in found)  # pyright: ignore[reportAttributeAccessIssue]


def test_replacements_of_damaged_videos_go_first(tmp_path: Path) -> None:
    root = lay_out("k400", tmp_path)
    damaged = next((root / "train" / "air_drumming").iterdir())
    better = root / "replacement" / "replacement_for_corrupted_k400" / damaged.name
    better.parent.mkdir(parents=True)
    shutil.copy(root / "val/air_drumming/id_4-x_000004_000014.mp4", better)
    assert MODULES["k400"](str(root), **OPTIONS).clips("train")[0].path == better


def test_two_files_of_one_clip_are_told(tmp_path: Path) -> None:
    root = lay_out("ssv2", tmp_path)
    folder = root / "20bn-something-something-v2"
    shutil.copy(folder / "0.webm", folder / "0.mkv")
    with pytest.warns(
        UserWarning,
        match=r"1 video\(s\) are there under two names .*0\.webm and .*0\.mkv",
    ):
        MODULES["ssv2"](str(root), **OPTIONS).setup("fit")


@pytest.mark.parametrize("missing", ["stop", "leave_out"])
@pytest.mark.parametrize(
    ("name", "place"),
    [("k400", "train"), ("hmdb51", "videos"), ("ucf101", "UCF-101")],
)
def test_a_whole_class_is_never_left_out_and_what_is_there_is_told(
    name: str, place: str, missing: str, tmp_path: Path
) -> None:
    root = lay_out(name, tmp_path)
    gone = sorted((root / place).iterdir())[0]
    shutil.rmtree(gone)
    with pytest.raises(
        FileNotFoundError, match=f"2 of the 4 videos .*{place} holds 1 folder"
    ) as error:
        MODULES[name](str(root), files=Files(missing=missing), **OPTIONS).setup(
            "fit"
        )  # pyright: ignore[reportArgumentType]
    assert ("A class cannot be left out" in str(error.value)) == (
        missing == "leave_out"
    )


def test_where_nothing_is_found_the_folders_that_are_there_are_told(
    tmp_path: Path,
) -> None:
    root = lay_out("k400", tmp_path)
    renamed(root, "train", "other")
    with pytest.raises(
        FileNotFoundError, match=r"4 of the 4 videos .* there is no folder .*train"
    ):
        MODULES["k400"](
            str(root), files=Files(missing="leave_out"), **OPTIONS
        ).setup("fit")
