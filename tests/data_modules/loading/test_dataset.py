import os
import pickle
from pathlib import Path

import pytest
import torch

from data_modules.loading.collate import Collate
from data_modules.loading.dataset import FaultPolicy, VideoDataset
from data_modules.loading.views import EvalViews, TrainView, Views
from data_modules.sample import Clip
from data_modules.sampling.schemes import Length, SegmentSampling
from data_modules.transforms.crops import EvalCrop, TrainCrop
from data_modules.video.decode import decode
from tests.data_modules.video.test_decode import resident
from tests.data_modules.videos import WriteVideo, noise_frames


@pytest.fixture
def clip(write: WriteVideo) -> Clip:
    return Clip("one", write(frames=noise_frames(30, 32, 48)), 7)


def test_a_training_sample_is_a_function_of_seed_epoch_and_name(clip: Clip):
    view = TrainView(SegmentSampling(4), TrainCrop(), 16)
    dataset = VideoDataset([Clip("other", clip.path, 1), clip], view, seed=3)
    sample = dataset[2, 1]
    assert (sample.labels, sample.clip_id, sample.video.shape) == (
        (7,),
        "one",
        (1, 4, 3, 16, 16),
    )
    alone = VideoDataset([clip], view, seed=3)
    assert torch.equal(
        alone[2, 0].video, sample.video
    )  # not of its place in the list
    assert len(dataset) == 2
    others = [
        dataset[3, 1],
        dataset[2, 0],
        VideoDataset([clip], view, seed=4)[2, 0],
    ]
    assert not any(torch.equal(other.video, sample.video) for other in others)


def test_views_are_temporal_outside_and_crops_inside(clip: Clip):
    view = EvalViews(SegmentSampling(4), EvalCrop(), 32, Views.parse("2x3"))
    video = VideoDataset([clip], view)[0].video
    assert video.shape == (6, 4, 3, 32, 32)
    for temporal in range(2):
        frames = decode(
            clip.path, SegmentSampling(4).test(Length(30, 25), 2)[temporal]
        )
        for spatial, left in enumerate((0, 8, 16)):
            assert torch.equal(
                video[3 * temporal + spatial], frames[..., left : left + 32]
            )


def test_collate(clip: Clip):
    dataset = VideoDataset(
        [clip, clip._replace(label=-1, clip_id="two")],
        TrainView(SegmentSampling(2), EvalCrop(), 8),
    )
    batch = Collate()([dataset[0], dataset[1]])
    assert batch.video.shape == (2, 1, 2, 3, 8, 8)
    assert batch.video.dtype == torch.uint8
    assert batch.label.tolist() == [7, -1]
    assert batch.label.dtype == torch.int64
    assert batch.clip_id == ["one", "two"]


def test_datasets_travel_to_workers(clip: Clip):
    dataset = VideoDataset([clip], TrainView(SegmentSampling(2), TrainCrop(), 8))
    assert torch.equal(
        pickle.loads(pickle.dumps(dataset))[5, 0].video, dataset[5, 0].video
    )


@pytest.mark.parametrize(
    "text", ["", "3", "1x", "x3", "0x1", "1x2", "1x3x1", "-1x3", "axb"]
)
def test_bad_views(text: str):
    with pytest.raises(
        ValueError,
        match="views: expected temporal x spatial such as '1x1' or '4x3'",
    ):
        Views.parse(text)


def test_good_views():
    assert Views.parse("10x3") == (10, 3)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/task").exists(),
    reason="counts threads as Linux shows them",
)
@pytest.mark.parametrize("on_device", [False, True])
def test_samples_take_neither_memory_nor_threads(
    write: WriteVideo, on_device: bool
):
    files = [
        write("a.mp4"),
        write("b.webm", codec="libvpx-vp9"),
        write("c.avi", codec="mpeg4"),
        write("bad.mp4"),
    ]
    files[-1].write_bytes(files[0].read_bytes()[:900])
    clips = [Clip(path.name, path, 0) for path in files]
    view = TrainView(SegmentSampling(2), TrainCrop(), 16)
    dataset = VideoDataset(
        clips, view, policy=FaultPolicy("replace"), on_device=on_device
    )
    for step in range(100):
        dataset[step, step % 4]
    memory, threads = resident(), len(os.listdir("/proc/self/task"))
    faults = [dataset[step, step % 4].fault for step in range(1000)]
    assert sum(map(bool, faults)) == 250
    assert resident() - memory <= 10 << 20
    assert len(os.listdir("/proc/self/task")) == threads
