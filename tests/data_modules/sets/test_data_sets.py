"""Every data set on tiny real files: what is listed, and that it arrives in a batch."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.loading.data_module import VideoDataModule
from data_modules.sample import Clip
from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import (
    HMDB51,
    UCF101,
    Diving48,
    EasyMotion,
    Kinetics,
    SomethingSomething,
    SomethingSomethingV1,
    VideoFolder,
    VideoList,
)
from data_modules.storage.files import Files
from tests.layouts import FRAMES, lay_out

MODULES: dict[str, type[VideoDataModule]] = {
    "diving48": Diving48,
    "folder": VideoFolder,
    "hmdb51": HMDB51,
    "k400": Kinetics,
    "ssv1": SomethingSomethingV1,
    "ssv2": SomethingSomething,
    "ucf101": UCF101,
    "video_list": VideoList,
}
# the first clip of training and of validation: name, file under the root, label
FIRST = {
    "diving48": (
        ("dive_00000", "rgb/dive_00000.mp4", 0),
        ("dive_00004", "rgb/dive_00004.mp4", 0),
    ),
    "folder": (
        ("class_0/0.mp4", "train/class_0/0.mp4", 0),
        ("class_0/4.mp4", "val/class_0/4.mp4", 0),
    ),
    "hmdb51": (
        ("brush_hair/clip_0.avi", "videos/brush_hair/clip_0.avi", 0),
        ("brush_hair/clip_4.avi", "videos/brush_hair/clip_4.avi", 0),
    ),
    "k400": (
        (
            "air_drumming/id_0-x_000000_000010",
            "train/air_drumming/id_0-x_000000_000010.mp4",
            1,
        ),
        (
            "air_drumming/id_4-x_000004_000014",
            "val/air_drumming/id_4-x_000004_000014.mp4",
            1,
        ),
    ),
    "ssv1": (
        ("0", "20bn-something-something-v1/0", 1),
        ("4", "20bn-something-something-v1/4", 1),
    ),
    "ssv2": (
        ("0", "20bn-something-something-v2/0.webm", 0),
        ("4", "20bn-something-something-v2/4.webm", 0),
    ),
    "ucf101": (
        (
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g00_c01.avi",
            "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g00_c01.avi",
            0,
        ),
        (
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g04_c01.avi",
            "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g04_c01.avi",
            0,
        ),
    ),
    "video_list": (
        ("clips/0.mp4", "clips/0.mp4", 0),
        ("clips/4.mp4", "clips/4.mp4", 0),
    ),
}
LABELS = {
    "diving48": ["Back 15som 05Twis FREE", "Inward 25som NoTwis PIKE"],
    "folder": ["class_0", "class_1"],
    "hmdb51": ["brush_hair", "wave"],
    "k400": ["abseiling", "air drumming"],
    "ssv1": [
        "Holding something",
        "Turning the camera upwards while filming something",
    ],
    "ssv2": [
        "Pushing something from right to left",
        "Pushing something from left to right",
    ],
    "ucf101": ["ApplyEyeMakeup", "YoYo"],
    "video_list": ["cat", "dog"],
}


def data_of(name: str, root: Path, **options: Any) -> VideoDataModule:
    defaults = {
        "sampling": SegmentSampling(2),
        "image_size": 16,
        "batch_size": 4,
        "num_workers": 0,
    }
    return MODULES[name](str(root), **(defaults | options))  # pyright: ignore[reportCallIssue]


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    base, made = tmp_path_factory.mktemp("data"), set[str]()

    def make(name: str) -> Path:
        if name not in made:
            lay_out(name, base / name)
            made.add(name)
        return base / name

    return make


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Path]:
    """A copy that a test may spoil."""
    return lambda name: lay_out(name, tmp_path / name)


@pytest.mark.parametrize("name", MODULES)
def test_what_is_listed(name: str, laid_out: Callable[[str], Path]):
    root = laid_out(name)
    data = data_of(name, root)
    assert data.labels == LABELS[name]
    assert data.root == root
    for split, (clip_id, path, label) in zip(
        ("train", "val"), FIRST[name], strict=True
    ):
        clips = data.clips(split)  # pyright: ignore[reportArgumentType]
        assert clips[0] == Clip(clip_id, root / path, label)
        assert sorted(clip.label for clip in clips) == [0, 0, 1, 1]
        assert clips == data.clips(split)  # pyright: ignore[reportArgumentType]
    assert data.clips("test") == data.clips("val")


@pytest.mark.parametrize("name", MODULES)
def test_a_batch_of_each_split(name: str, laid_out: Callable[[str], Path]):
    data = data_of(name, laid_out(name), views="2x3")
    for stage in ("fit", "test"):
        data.setup(stage)
    (batch,) = data.train_dataloader()
    assert batch.video.shape == (4, 1, 2, 3, 16, 16)
    assert sorted(batch.label.tolist()) == [0, 0, 1, 1]
    (seen,) = data.test_dataloader()
    assert seen.video.shape == (4, 6, 2, 3, 16, 16)
    assert len(set(seen.clip_id)) == 4


@pytest.mark.parametrize("name", MODULES)
def test_the_frames_are_those_asked_for(name: str, laid_out: Callable[[str], Path]):
    data = data_of(name, laid_out(name), sampling=SegmentSampling(FRAMES))
    data.setup("validate")
    (batch,) = data.val_dataloader()
    grey = batch.video.float().mean(dim=(-3, -2, -1))[:, 0]
    numbers = [
        int(re.findall(r"\d+", Path(clip_id).stem)[0]) for clip_id in batch.clip_id
    ]
    expected = 10 + 20 * torch.arange(FRAMES) + torch.tensor(numbers)[:, None]
    assert (grey - expected).abs().max() < 5


@pytest.mark.parametrize("name", [name for name in MODULES if name != "folder"])
def test_missing_videos_are_listed_and_counted(
    name: str, own: Callable[[str], Path]
):
    root = own(name)
    path = root / FIRST[name][0][1]
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(
        FileNotFoundError,
        match=f"1 of the 4 videos of the train split are missing: .*{path.name}",
    ):
        data_of(name, root).setup("fit")
    data = data_of(name, root, files=Files(missing="leave_out"), batch_size=3)
    with pytest.warns(
        UserWarning, match="1 of the 4 videos of the train split are missing"
    ):
        data.setup("fit")
    (batch,) = data.train_dataloader()
    assert FIRST[name][0][0] not in batch.clip_id


# --- Something-Something ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("prefix", ["", "something/v/img/"])
def test_something_in_lists_of_published_code(
    version: int, prefix: str, own: Callable[[str], Path]
):
    name = f"ssv{version}"
    root = own(name)
    clips = data_of(name, root).clips("train")
    for split in ("train", "validation"):
        next(root.glob(f"*-{split}.*")).unlink()
    lines = [f"{prefix}{clip.clip_id} 48 {clip.label}" for clip in clips]
    (root / "train_videofolder.txt").write_text("\n".join(lines))
    (root / "val.txt").write_text("4 10 0\n")
    data = data_of(name, root)
    assert data.clips("train") == clips
    assert [clip.clip_id for clip in data.clips("val")] == ["4"]
    (root / "val.txt").write_text("4 10 2\n")
    with pytest.raises(
        ValueError, match=r"val\.txt: clip 4 has label '2', not among the 2"
    ):
        data.clips("val")


def test_something_v1_wrong_files(own: Callable[[str], Path]):
    root = own("ssv1")
    (root / "something-something-v1-validation.csv").write_text(
        "4;Eating something\n"
    )
    with pytest.raises(
        ValueError,
        match=r"validation\.csv: clip 4 has label 'Eating something', not among the 2",
    ):
        data_of("ssv1", root).setup("validate")
    (root / "something-something-v1-validation.csv").write_text(
        "4\n"
    )  # as the list of test is
    with pytest.raises(
        ValueError,
        match=r"validation\.csv, line 1 '4': expected 'id label' in each line",
    ):
        data_of("ssv1", root).setup("validate")
    (root / "something-something-v1-labels.csv").write_text("a\nb\na\n")
    with pytest.raises(ValueError, match=r"labels\.csv: lists a label twice"):
        data_of("ssv1", root)


@pytest.mark.parametrize("name", ["ssv1", "ssv2"])
def test_mirror_images_of_classes(name: str, own: Callable[[str], Path]):
    root = own(name)
    file = next(root.glob("*-labels.*"))
    if name == "ssv1":
        file.write_text("Moving left\nMoving right\nHolding\n")
        assert data_of(name, root).mirrored() == {1: 2, 2: 1}
    else:
        file.write_text('{"Moving left": "0", "Holding": "1", "Moving right": "2"}')
        assert data_of(name, root).mirrored() == {0: 2, 2: 0}


# --- Kinetics -----------------------------------------------------------------------------------------------------


def test_kinetics_under_other_names(own: Callable[[str], Path]):
    root = own("k400")
    for split in ("train", "val"):
        (root / f"{split}.csv").rename(root / f"kinetics_{split}.csv")
        (root / split).rename(root / f"videos_{split}")
    data = data_of("k400", root, videos="videos_{split}", num_classes=2)
    data.setup("fit")
    assert data.clips("val")[0].path.is_file()


def test_kinetics_wrong_files(own: Callable[[str], Path]):
    root = own("k400")
    with pytest.raises(
        ValueError, match=r"train\.csv: holds 2 classes, not num_classes=400"
    ):
        data_of("k400", root, num_classes=400)
    header = "label,youtube_id,time_start,time_end,split\n"
    (root / "val.csv").write_text(
        f"{header}abseiling,x,0,10,validate\nabseiling,y,0,10,test\n"
    )
    with pytest.raises(
        ValueError, match=r"val\.csv: lists clips of the split 'test', expected val"
    ):
        data_of("k400", root).setup("validate")
    (root / "val.csv").write_text(f"{header}swimming,x,0,10,val\n")
    with pytest.raises(
        ValueError,
        match=r"val\.csv: clip swimming/x_000000_000010 has label 'swimming', not among",
    ):
        data_of("k400", root).setup("validate")
    (root / "val.csv").write_text(f"{header}abseiling,x,zero,10,val\n")
    with pytest.raises(
        ValueError, match=r"val\.csv: times of clip x are no numbers"
    ):
        data_of("k400", root).setup("validate")
    (root / "val.csv").write_text(
        "youtube_id,time_start,time_end,split\nx,0,10,test\n"
    )  # the list of test
    with pytest.raises(
        ValueError,
        match=r"val\.csv, line 1: the header 'youtube_id,.*' has no column label",
    ):
        data_of("k400", root).setup("validate")


# --- HMDB51, UCF101, Diving48 -------------------------------------------------------------------------------------


def test_hmdb51_splits(own: Callable[[str], Path]):
    root = own("hmdb51")
    first, second = (
        data_of("hmdb51", root, split_number=number) for number in (1, 2)
    )
    assert set(first.clips("train")) == set(second.clips("test"))
    with pytest.raises(ValueError, match="split_number: expected 1, 2 or 3, got 4"):
        data_of("hmdb51", root, split_number=4)
    with pytest.raises(
        FileNotFoundError,
        match=r"elsewhere: holds no annotation file <class>_test_split1\.txt",
    ):
        data_of("hmdb51", root, splits="elsewhere")
    (root / "testTrainMulti_7030_splits/wave_test_split1.txt").write_text(
        "a.avi 3\n"
    )
    with pytest.raises(
        ValueError,
        match=r"wave_test_split1\.txt: expected the name of a video and 0, 1 or 2, got 'a\.avi 3'",
    ):
        data_of("hmdb51", root).setup("fit")


def test_ucf101_wrong_files(own: Callable[[str], Path]):
    root = own("ucf101")
    lists = root / "ucfTrainTestlist"
    with pytest.raises(ValueError, match="split_number: expected 1, 2 or 3, got 0"):
        data_of("ucf101", root, split_number=0)
    (lists / "trainlist02.txt").write_text("YoYo/v_YoYo_g01_c01.avi 1\n")
    with pytest.raises(
        ValueError,
        match=r"trainlist02\.txt: YoYo/v_.* has number 1, its class has 2",
    ):
        data_of("ucf101", root, split_number=2).setup("fit")
    (lists / "testlist02.txt").write_text("Swing/v_Swing_g01_c01.avi\n")
    with pytest.raises(
        ValueError,
        match=r"testlist02\.txt: clip Swing/.* has label 'Swing', not among the 2",
    ):
        data_of("ucf101", root, split_number=2).clips("val")
    (lists / "classInd.txt").write_text("0 ApplyEyeMakeup\n1 YoYo\n")
    with pytest.raises(
        ValueError,
        match=r"classInd\.txt: expected a number and a class .* numbered 1, 2, 3",
    ):
        data_of("ucf101", root)


def test_diving48_wrong_files(own: Callable[[str], Path]):
    root = own("diving48")
    (root / "Diving48_V2_test.json").write_text('[{"vid_name": "a"}]')
    with pytest.raises(
        ValueError,
        match=r"V2_test\.json: entry 0 is {\"vid_name\": \"a\"}; expected at least vid_name and",
    ):
        data_of("diving48", root).setup("validate")
    (root / "Diving48_V2_test.json").write_text('[{"vid_name": "a", "label": 48}]')
    with pytest.raises(
        ValueError, match=r"V2_test\.json: clip a has label '48', not among the 2"
    ):
        data_of("diving48", root).setup("validate")
    (root / "Diving48_V2_test.json").rename(
        root / "Diving48_test.json"
    )  # as V1 is named
    with pytest.raises(
        FileNotFoundError, match=r"no annotation file .*Diving48_V2_test\.json"
    ):
        data_of("diving48", root).setup("validate")
    (root / "Diving48_vocab.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"vocab\.json: expected a list of classes"
    ):
        data_of("diving48", root)


# --- lists and clips of one's own ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("clips/0.mp4 0\nclips/1.mp4 1\n", ["0", "1"]),
        ("clips/0.mp4,b\nclips/1.mp4,c\n", ["b", "c"]),
        ("label,path\n0,clips/0.mp4\n1,clips/1.mp4\n", ["0", "1"]),
        (f"clips/0.mp4 {FRAMES} 0\nclips/1.mp4 {FRAMES} 1\n", ["0", "1"]),
    ],
)
def test_forms_of_a_list(text: str, labels: list[str], own: Callable[[str], Path]):
    root = own("video_list")
    (root / "train.csv").write_text(text)
    data = data_of("video_list", root)
    assert data.labels == labels
    assert [clip[:2] for clip in data.clips("train")] == [
        (f"clips/{n}.mp4", root / f"clips/{n}.mp4") for n in (0, 1)
    ]
    assert [data.labels[clip.label] for clip in data.clips("train")] == labels[-2:]


def test_a_list_with_names_test_and_absolute_paths(
    own: Callable[[str], Path], tmp_path: Path
):
    root = own("video_list")
    (root / "labels.txt").write_text("dog\ncat\n")
    (root / "test.csv").write_text(f"{root}/clips/5.mp4,0\n")
    data = data_of(
        "video_list", root, names="labels.txt", videos=str(tmp_path / "elsewhere")
    )
    assert data.clips("train")[0].label == 1
    assert data.clips("train")[0].path == tmp_path / "elsewhere/clips/0.mp4"
    assert data.clips("test") == [
        Clip(f"{root}/clips/5.mp4", root / "clips/5.mp4", 0)
    ]


def test_a_list_of_folders_of_frames(own: Callable[[str], Path]):
    root = own("ssv1")
    for split, first in (("train", 0), ("val", 4)):
        lines = [
            f"20bn-something-something-v1/{n} {FRAMES} {n % 2}"
            for n in range(first, first + 4)
        ]
        (root / f"{split}.txt").write_text("\n".join(lines))
    data = data_of(
        "video_list",
        root,
        train="train.txt",
        val="val.txt",
        sampling=SegmentSampling(FRAMES),
    )
    data.setup("fit")
    (batch,) = data.val_dataloader()
    assert batch.clip_id == [
        f"20bn-something-something-v1/{n}" for n in range(4, 8)
    ]
    assert batch.label.tolist() == [0, 1, 0, 1]
    assert (
        batch.video[0].float().mean(dim=(-3, -2, -1))
        - (14 + 20 * torch.arange(FRAMES))
    ).abs().max() < 5


def test_wrong_lists(own: Callable[[str], Path]):
    root = own("video_list")
    (root / "val.csv").write_text("clips/5.mp4,bird\n")
    with pytest.raises(
        ValueError,
        match=r"val\.csv, line 1: clip clips/5\.mp4 has label 'bird', not among the 2",
    ):
        data_of("video_list", root).setup("fit")
    with pytest.raises(
        FileNotFoundError, match=r"no annotation file .*nothing\.csv"
    ):
        data_of("video_list", root, train="nothing.csv")


def test_motion_clips_are_rendered_where_they_are_not_there(tmp_path: Path):
    options: dict[str, Any] = {
        "sampling": SegmentSampling(2),
        "image_size": 16,
        "batch_size": 6,
        "num_workers": 0,
    }
    data = EasyMotion(str(tmp_path / "motion"), num_train=6, num_test=6, **options)
    assert len(data.labels) == 6
    assert data.mirrored() == {0: 1, 1: 0}
    data.prepare_data()
    data.setup("fit")
    assert (
        data.labels
        == SomethingSomething(
            str(tmp_path / "motion"), videos="videos", **options
        ).labels
    )
    assert len(data.clips("train")) == len(data.clips("test")) == 6
    with pytest.raises(ValueError, match="holds the motion data set"):
        EasyMotion(
            str(tmp_path / "motion"), num_train=12, num_test=6, **options
        ).prepare_data()
