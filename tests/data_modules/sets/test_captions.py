"""Captioned videos in their published formats: what is listed, and that pairs stay pairs in every batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.loading.sampler import EpochBatchSampler
from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import MSRVTT, MSVD, VATEX, CaptionList
from data_modules.sets.captions.captioned_videos import CaptionedVideos
from data_modules.storage.files import Files
from data_modules.transforms.crops import (
    MultiScaleCrop,
    ShortSideJitterCrop,
    TrainCrop,
    Transform,
)
from data_modules.transforms.mixing import Mixing
from tests.caption_layouts import NUMBERS, lay_out, said
from tests.layouts import FRAMES

OPTIONS: dict[str, Any] = {
    "sampling": SegmentSampling(2),
    "image_size": 16,
    "batch_size": 3,
    "num_workers": 0,
}
MODULES: dict[str, Callable[..., CaptionedVideos]] = {
    "caption_list": CaptionList,
    "msrvtt_1ka": MSRVTT,
    "msrvtt_7k": lambda *args, **options: MSRVTT(*args, split_name="7k", **options),
    "msrvtt_full": lambda *args, **options: MSRVTT(
        *args, split_name="full", **options
    ),
    "msvd": MSVD,
    "vatex": VATEX,
}
FILE = {
    "caption_list": "clips/{}.mp4",
    "msrvtt_1ka": "videos/video{}.mp4",
    "msrvtt_7k": "videos/video{}.mp4",
    "msrvtt_full": "videos/video{}.mp4",
    "msvd": "YouTubeClips/vid-{}_0_8.avi",
    "vatex": "videos/vid-{}_0_8.mp4",
}
NAME = {"caption_list": "clips/{}.mp4", "msvd": "vid-{}_0_8", "vatex": "vid-{}_0_8"}
PAIRED = (
    "msrvtt_1ka",
    "msrvtt_7k",
)  # one caption of each test video; validation is the test


def data_of(name: str, root: Path, **options: Any) -> CaptionedVideos:
    return MODULES[name](str(root), **(OPTIONS | options))


def clip_name(name: str, number: int) -> str:
    return NAME.get(name, "video{}").format(number)


def expected(name: str, split: str) -> list[tuple[str, tuple[str, ...]]]:
    """Name and captions of each video, as the generator of the files knows them."""
    if name in PAIRED and split != "train":
        return [(clip_name(name, n), (said(n)[1],)) for n in NUMBERS["test"]]
    return [(clip_name(name, n), tuple(said(n))) for n in NUMBERS[split]]


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    base = tmp_path_factory.mktemp("captions")
    return lambda name: (
        base / name if (base / name).exists() else lay_out(name, base / name)
    )


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Path]:
    """A copy that a test may spoil."""
    return lambda name: lay_out(name, tmp_path / name)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("name", MODULES)
def test_each_video_is_listed_once_with_all_its_captions(
    name: str, split: Any, laid_out: Callable[[str], Path]
):
    root = laid_out(name)
    clips = data_of(name, root).clips(split)
    assert [(clip.clip_id, clip.captions) for clip in clips] == expected(
        name, split
    )
    assert [clip.label for clip in clips] == list(range(len(clips)))
    numbers = NUMBERS["test" if name in PAIRED and split == "val" else split]
    assert [clip.path for clip in clips] == [
        root / FILE[name].format(n) for n in numbers
    ]


@pytest.mark.parametrize("name", MODULES)
def test_training_takes_every_pair_once_an_epoch(
    name: str, laid_out: Callable[[str], Path]
):
    data = data_of(name, laid_out(name), batch_size=10)
    data.setup("fit")
    (batch,) = data.train_dataloader()  # 10 captions of 4 videos
    pairs = [(f"{clip}#{n}", label, (text,)) for label, (clip, texts) in enumerate(expected(name, "train"))
             for n, text in enumerate(texts)]  # fmt: skip
    assert sorted(
        zip(batch.clip_id, batch.label.tolist(), batch.captions, strict=True)
    ) == sorted(pairs)


@pytest.mark.parametrize("name", MODULES)
def test_evaluation_sees_each_video_once_with_all_its_captions(
    name: str, laid_out: Callable[[str], Path]
):
    data = data_of(name, laid_out(name), views="2x1")
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert list(zip(batch.clip_id, batch.captions, strict=True)) == expected(
        name, "test"
    )
    assert batch.label.tolist() == [0, 1, 2]
    assert batch.video.shape == (3, 2, 2, 3, 16, 16)


def test_a_random_caption_is_a_function_of_seed_epoch_and_clip(
    laid_out: Callable[[str], Path],
):
    data = data_of(
        "vatex", laid_out("vatex"), pairs="random", batch_size=4, num_sample=2
    )
    data.setup("fit")
    dataset = data._dataset("train")
    drawn = [
        [dataset[epoch, index].captions for index in range(4)]
        for epoch in range(30)
    ]
    assert drawn == [
        [dataset[epoch, index].captions for index in range(4)]
        for epoch in range(30)
    ]
    for index, number in enumerate(
        NUMBERS["train"]
    ):  # P(one of three is never drawn in 30 epochs) < 2e-5
        assert {row[index] for row in drawn} == {(text,) for text in said(number)}
    (batch,) = data.train_dataloader()
    assert batch.clip_id[:4] == batch.clip_id[4:]
    assert (
        batch.captions[:4] == batch.captions[4:]
    )  # two clips of a video say the same
    for clip, text in zip(batch.clip_id, batch.captions, strict=True):
        assert text == drawn[0][int(clip.split("-")[1][0])]


@pytest.mark.parametrize("pairs", ["every", "random"])
def test_a_stand_in_brings_its_own_caption(pairs: Any, own: Callable[[str], Path]):
    root = own("msvd")
    bad = root / FILE["msvd"].format(1)
    bad.write_bytes(bad.read_bytes()[:100])
    data = data_of("msvd", root, pairs=pairs, batch_size=4)
    data.setup("fit")
    dataset = data._dataset("train")
    samples = [
        dataset[epoch, index]
        for epoch in range(4)
        for index in range(10 if pairs == "every" else 4)
    ]
    assert sum("vid-1_0_8.avi" in sample.fault for sample in samples) == (
        8 if pairs == "every" else 4
    )
    for sample in samples:
        video = int(sample.clip_id.split("-")[1][0])
        (caption,) = sample.captions
        assert video != 1
        assert caption in said(video)
        assert sample.labels == (video,)


def test_a_video_that_cannot_be_read_keeps_its_captions_in_evaluation(
    own: Callable[[str], Path],
):
    root = own("vatex")
    (root / FILE["vatex"].format(8)).write_bytes(b"no video")
    data = data_of("vatex", root, files=Files(broken="count_wrong"))
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert [bool(fault) for fault in batch.fault] == [False, True, False]
    assert list(batch.captions) == [tuple(said(n)) for n in NUMBERS["test"]]


@pytest.mark.parametrize("name", MODULES)
def test_missing_videos_are_counted_as_videos(
    name: str, own: Callable[[str], Path]
):
    root = own(name)
    (root / FILE[name].format(2)).unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of the 4 videos of the train split are missing: .*2",
    ):
        data_of(name, root).setup("fit")
    data = data_of(name, root, files=Files(missing="leave_out"))
    with pytest.warns(
        UserWarning, match="1 of the 4 videos of the train split are missing"
    ):
        data.setup("fit")
    pairs = [
        f"{clip_name(name, n)}#{i}" for n in (0, 1, 3) for i in range(len(said(n)))
    ]
    assert [clip.clip_id for clip in data.located("train")] == pairs
    assert {clip.label for clip in data.located("train")} == {0, 1, 3}


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_pairs_of_a_step(
    world_size: int, laid_out: Callable[[str], Path]
):
    """The joint batch of an epoch's first step is the same pairs for any number of ranks."""
    data = data_of("msvd", laid_out("msvd"), batch_size=6)
    data.setup("fit")
    whole = [clip for batch in data.train_dataloader() for clip in batch.clip_id]
    dataset, order = data._dataset("train"), data._order()
    seen = list[str]()
    for rank in range(world_size):
        sampler = EpochBatchSampler(
            order, rank=rank, world_size=world_size, position=lambda: (0, 0)
        )
        seen += [dataset[key].clip_id for batch in sampler for key in batch]
    assert seen == whole


def test_a_batch_of_planes_carries_captions(laid_out: Callable[[str], Path]):
    data = data_of("msvd", laid_out("msvd"), transforms_on="device")
    data.setup("test")
    (planes,) = data.test_dataloader()
    batch = data.on_after_batch_transfer(planes, 0)
    assert list(batch.captions) == [tuple(said(n)) for n in NUMBERS["test"]]


def test_videos_are_found_under_any_usual_suffix(own: Callable[[str], Path]):
    root = own("vatex")
    path = root / FILE["vatex"].format(7)
    path.rename(path.with_suffix(".mkv"))
    assert data_of("vatex", root).clips("test")[0].path == path.with_suffix(".mkv")


def test_mixing_is_refused(laid_out: Callable[[str], Path]):
    with pytest.raises(
        ValueError, match="mixing blends two videos, which no caption describes"
    ):
        data_of("vatex", laid_out("vatex"), mixing=Mixing(), batch_size=4)


@pytest.mark.parametrize("crop", [TrainCrop, MultiScaleCrop, ShortSideJitterCrop])
def test_a_flip_is_refused(
    crop: Callable[..., Transform], laid_out: Callable[[str], Path]
):
    """ "a car drives to the left" is not what is seen then."""
    with pytest.raises(
        ValueError,
        match=r"train_transform.flip mirrors videos, and captions say left and right: set",
    ):
        data_of(
            "caption_list",
            laid_out("caption_list"),
            train_transform=crop(flip=True),
        )
    data_of(
        "caption_list", laid_out("caption_list"), train_transform=crop(flip=False)
    )


def test_frames_are_those_of_the_video(laid_out: Callable[[str], Path]):
    data = data_of(
        "msrvtt_full", laid_out("msrvtt_full"), sampling=SegmentSampling(FRAMES)
    )
    data.setup("test")
    (batch,) = data.test_dataloader()
    grey = batch.video.float().mean(dim=(-3, -2, -1))[:, 0]
    assert (
        grey
        - (10 + 20 * torch.arange(FRAMES) + torch.tensor(NUMBERS["test"])[:, None])
    ).abs().max() < 5
