"""Batches: views, clips of one video, mixed neighbours, and planes that become clips on the training device."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.batch import VideoBatch
from data_modules.loading.collate import Collate, PlaneBatch
from data_modules.loading.dataset import VideoDataset
from data_modules.loading.views import EvalViews, TrainView, View, Views
from data_modules.sample import Clip
from data_modules.sampling.schemes import SegmentSampling
from data_modules.transforms.augment import Augmentation, Grayscale, RandomErasing
from data_modules.transforms.crops import EvalCrop, TrainCrop
from data_modules.transforms.mixing import Mixing
from data_modules.transforms.rand_augment import RandAugment
from data_modules.video.encode import write_video
from tests.data_modules.videos import noise_frames

PLAIN = Collate()
AUGMENTATIONS: Sequence[Augmentation] = (
    RandAugment(),
    Grayscale(0.5),
    RandomErasing(0.5),
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    root = tmp_path_factory.mktemp("clips")
    for number in range(8):
        write_video(
            root / f"{number}.mp4",
            noise_frames(16, 48, 60) + torch.tensor(20 * number).byte().numpy(),
            12,
        )
    return [
        Clip(f"clip {number}", Path(root / f"{number}.mp4"), number)
        for number in range(8)
    ]


def train(clips: Sequence[Clip], **options: Any) -> VideoDataset:
    view: dict[str, Any] = {
        "augmentations": options.pop("augmentations", ()),
        "num_sample": options.pop("num_sample", 1),
    }
    return VideoDataset(
        clips,
        TrainView(SegmentSampling(4), TrainCrop(flip=True), 32, **view),
        **options,
    )


def batch(
    data: VideoDataset, indices: Sequence[int], collate: Collate = PLAIN
) -> VideoBatch:
    collated = collate([data[3, index] for index in indices])
    return (
        collate.render(collated) if isinstance(collated, PlaneBatch) else collated
    )


@pytest.mark.parametrize(
    "view",
    [
        TrainView(SegmentSampling(4), TrainCrop(flip=True), 32),
        TrainView(SegmentSampling(4), EvalCrop(0.875), 33, num_sample=3),
        EvalViews(SegmentSampling(4), EvalCrop(0.875), 32, Views(2, 3)),
    ],
    ids=["crop", "odd size", "views"],
)
def test_the_device_sees_what_a_worker_would_have_made(
    clips: list[Clip], view: View
):
    """Space alone: conversions of colour round differently, by a level or two, and operations on pixels amplify it."""
    worker = batch(VideoDataset(clips, view), range(8))
    device = batch(VideoDataset(clips, view, on_device=True), range(8))
    assert device.label.tolist() == worker.label.tolist()
    assert device.clip_id == worker.clip_id
    assert device.video.shape == worker.video.shape
    apart = device.video.float() - worker.video.float()
    assert apart.abs().max() <= 4
    assert apart.square().mean() < 255**2 / 10**4.3  # 43 decibels


def test_the_device_draws_the_same_augmentations(clips: list[Clip]):
    worker = batch(train(clips, augmentations=AUGMENTATIONS), range(8))
    device = batch(
        train(clips, augmentations=AUGMENTATIONS, on_device=True), range(8)
    )
    plain = batch(train(clips), range(8))
    apart = [
        (a.float() - b.float()).abs().mean()
        for a, b in ((worker.video, device.video), (worker.video, plain.video))
    ]
    assert apart[0] < 4 < apart[1]  # levels


def test_a_plane_batch_is_pinned_and_moved_as_one_tensor(clips: list[Clip]):
    packed = Collate()(
        [train(clips, on_device=True)[0, index] for index in range(4)]
    )
    assert isinstance(packed, PlaneBatch)
    assert packed.data.dtype == torch.uint8
    assert (
        packed.data.numel() < 4 * 4 * 48 * 60 * 1.5 + 1
    )  # bytes: half of RGB at most
    moved = packed.to(torch.device("meta"), non_blocking=True)
    assert moved.data.device.type == "meta"
    assert (
        len(pickle.dumps(moved._replace(data=torch.zeros(0)))) < 12_000
    )  # the rest is plain numbers


def test_clips_of_one_video_are_other_draws_of_the_same_frames(clips: list[Clip]):
    once, twice = (
        batch(train(clips), range(4)),
        batch(train(clips, num_sample=2), range(4)),
    )
    assert twice.video.shape[:2] == (8, 1)
    assert twice.clip_id == [*once.clip_id, *once.clip_id]
    assert twice.label.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert torch.equal(twice.video[:4], once.video)
    assert all((twice.video[n] != twice.video[n + 4]).any() for n in range(4))


def test_a_mirrored_clip_takes_the_label_of_its_mirror_image(clips: list[Clip]):
    other = {number: number ^ 1 for number in range(8)}
    data = train(clips, mirrored=other)
    flipped = [
        data[epoch, index].labels != (index,)
        for epoch in range(20)
        for index in range(8)
    ]
    assert (
        55 < sum(flipped) < 105
    )  # 80 of 160 on average; four standard deviations are 25
    for epoch in range(3):
        sample, unmapped = data[epoch, 2], train(clips)[epoch, 2]
        assert torch.equal(sample.video, unmapped.video)
        assert sample.labels in ((2,), (3,))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_mixing_is_the_same_for_any_number_of_ranks(
    clips: list[Clip], world_size: int
):
    collate, data = Collate(Mixing(), seed=1), train(clips, num_sample=2)
    whole = batch(data, range(8), collate)
    size = 8 // world_size
    parts = [
        batch(data, range(rank * size, (rank + 1) * size), collate)
        for rank in range(world_size)
    ]
    for clip in (0, 1):  # the clips of one video lie a batch apart
        seen = torch.cat(
            [part.video[clip * size : (clip + 1) * size] for part in parts]
        )
        assert torch.equal(seen, whole.video[8 * clip : 8 * (clip + 1)])
    assert whole.partners is not None
    assert whole.partners.label.tolist() == [1, 0, 3, 2, 5, 4, 7, 6] * 2
    assert (whole.partners.weight[:8] != whole.partners.weight[8:]).any()


def test_an_odd_batch_cannot_be_mixed(clips: list[Clip]):
    with pytest.raises(
        ValueError, match="batch_size: mixing takes clips in pairs, 3 is odd"
    ):
        batch(train(clips), range(3), Collate(Mixing()))
