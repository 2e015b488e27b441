"""Where training flips, labels that say left or right follow, or the flip is refused."""

from pathlib import Path
from typing import Any

import pytest

from data_modules.loading.data_module import VideoDataModule
from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets.video.hmdb51 import HMDB51
from data_modules.sets.video.kinetics import Kinetics
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.sets.video.video_list import VideoList
from data_modules.transforms.crops import (
    MultiScaleCrop,
    ShortSideJitterCrop,
    TrainCrop,
    Transform,
)
from data_modules.video.encode import write_video
from tests.data_modules.videos import grey_frames


def write(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, grey_frames(4, 16, 16) + number, 8)


def folder(root: Path, classes: list[str], **options: Any) -> VideoFolder:
    write(
        root,
        *(
            f"{split}/{name}/1.mp4"
            for split in ("train", "val")
            for name in classes
        ),
    )
    return VideoFolder(str(root), **options)


def listed(root: Path, classes: list[str], **options: Any) -> VideoList:
    for split in ("train", "val"):
        names = [f"{split}_{number}.mp4" for number in range(len(classes))]
        write(root, *names)
        lines = [
            f"{name},{label}\n" for name, label in zip(names, classes, strict=True)
        ]
        (root / f"{split}.csv").write_text("path,label\n" + "".join(lines))
    return VideoList(str(root), **options)


def kinetics(root: Path, classes: list[str], **options: Any) -> Kinetics:
    for split in ("train", "val"):
        write(
            root,
            *(
                f"{split}/{name.replace(' ', '_')}/x_000000_000010.mp4"
                for name in classes
            ),
        )
        lines = [f"{name},x,0,10,{split}\n" for name in classes]
        (root / f"{split}.csv").write_text(
            "label,youtube_id,time_start,time_end,split\n" + "".join(lines)
        )
    return Kinetics(str(root), **options)


def hmdb51(root: Path, classes: list[str], **options: Any) -> HMDB51:
    (root / "testTrainMulti_7030_splits").mkdir(parents=True)
    for name in classes:
        write(root, f"videos/{name}/1.avi", f"videos/{name}/2.avi")
        (root / f"testTrainMulti_7030_splits/{name}_test_split1.txt").write_text(
            "1.avi 1\n2.avi 2\n"
        )
    return HMDB51(str(root), **options)


OPTIONS = {
    "sampling": SegmentSampling(2),
    "image_size": 16,
    "batch_size": 1,
    "num_workers": 0,
}
MAKE = [folder, listed, kinetics, hmdb51]


@pytest.mark.parametrize("make", MAKE)
def test_labels_follow_in_every_data_module(make: Any, tmp_path: Path) -> None:
    data: VideoDataModule = make(
        tmp_path,
        ["turn left", "turn right"],
        train_transform=TrainCrop(flip=True),
        **OPTIONS,
    )
    assert data.mirrored() == {0: 1, 1: 0}


def test_about_half_of_the_clips_change_their_label(tmp_path: Path) -> None:
    data = folder(
        tmp_path,
        ["turn left", "turn right", "walk"],
        train_transform=TrainCrop(flip=True),
        **OPTIONS,
    )
    samples = data.live("train")
    seen = {
        number: [samples[(epoch, number)].labels for epoch in range(40)]
        for number in range(3)
    }
    assert (
        8 <= seen[0].count((1,)) <= 32
    )  # of 40 tosses; outside once in 10,000 runs, and the draws are fixed
    assert set(seen[0]) == set(seen[1]) == {(0,), (1,)}
    assert set(seen[2]) == {(2,)}


@pytest.mark.parametrize(
    "transform",
    [
        TrainCrop(flip=True),
        MultiScaleCrop(flip=True),
        ShortSideJitterCrop(flip=True),
    ],
)
def test_a_flip_is_refused_where_a_mirror_image_is_no_class(
    transform: Transform, tmp_path: Path
) -> None:
    data = folder(
        tmp_path, ["turn left", "walk"], train_transform=transform, **OPTIONS
    )
    with pytest.raises(
        ValueError,
        match=r"train_transform\.flip .* 1 of the 2 .*: 'turn left'; set it to false",
    ):
        data.setup("fit")


def test_without_a_flip_any_classes_will_do(tmp_path: Path) -> None:
    folder(
        tmp_path,
        ["turn left", "walk"],
        train_transform=TrainCrop(flip=False),
        **OPTIONS,
    ).setup("fit")
