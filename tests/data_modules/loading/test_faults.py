"""Files that cannot be read: another try, a stand-in, an end, or a wrong answer, as the policy says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.loading.collate import Collate, PlaneBatch
from data_modules.loading.dataset import FaultPolicy, VideoDataset
from data_modules.loading.views import EvalViews, TrainView, Views
from data_modules.sample import Clip
from data_modules.sampling.schemes import SegmentSampling
from data_modules.transforms.crops import EvalCrop, TrainCrop
from data_modules.video.encode import write_video
from tests.data_modules.videos import noise_frames

TRAIN = TrainView(SegmentSampling(4), TrainCrop(), 16)
EVAL = EvalViews(SegmentSampling(4), EvalCrop(), 16, Views(2, 3))


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Twelve clips of other pixels each; number 3 is cut short, number 5 is not there."""
    for number in range(12):
        write_video(
            tmp_path / f"{number}.mp4",
            noise_frames(30) + torch.tensor(9 * number).byte().numpy(),
            25,
        )
    cut = tmp_path / "3.mp4"
    cut.write_bytes(cut.read_bytes()[:500])
    (tmp_path / "5.mp4").unlink()
    return [
        Clip(str(number), tmp_path / f"{number}.mp4", number)
        for number in range(12)
    ]


def dataset(clips: list[Clip], policy: FaultPolicy, **options: Any) -> VideoDataset:
    return VideoDataset(clips, options.pop("view", TRAIN), policy=policy, **options)


@pytest.mark.parametrize(
    ("bad", "reason"), [(3, "cannot be read as a video"), (5, "no such video file")]
)
def test_evaluation_stops_and_names_the_file(
    clips: list[Clip], bad: int, reason: str
):
    with pytest.raises(
        (ValueError, FileNotFoundError), match=rf"{bad}\.mp4: {reason}"
    ):
        dataset(clips, FaultPolicy("stop"), view=EVAL)[bad]


@pytest.mark.parametrize("bad", [3, 5])
def test_in_training_another_clip_stands_in(clips: list[Clip], bad: int):
    sample = dataset(clips, FaultPolicy("replace"))[2, bad]
    assert f"{bad}.mp4" in sample.fault
    assert sample.clip_id not in ("3", "5")
    assert sample.labels == (int(sample.clip_id),)


def test_the_stand_in_is_a_function_of_seed_epoch_and_clip(clips: list[Clip]):
    first = dataset(clips, FaultPolicy("replace"))[2, 3]
    again = dataset(clips, FaultPolicy("replace"))[2, 3]
    assert first.clip_id == again.clip_id
    assert torch.equal(first.video, again.video)
    chosen = {
        dataset(clips, FaultPolicy("replace"))[epoch, 3].clip_id
        for epoch in range(20)
    }
    assert (
        len(chosen) > 5
    )  # 1 - P(at most 5 of 10 clips in 20 draws) is above 0.999


def test_what_is_known_to_be_bad_is_not_tried_and_changes_nothing(
    clips: list[Clip],
):
    """A file noted as hung during a run leaves the order of a resumed run as it was."""
    unknown = dataset(clips, FaultPolicy("replace"))[2, 3]
    known = dataset(
        clips, FaultPolicy("replace", {str(clips[3].path): "bad: cut"})
    )[2, 3]
    assert known.fault == f"{clips[3].path}: bad: cut"
    assert (known.clip_id, known.labels) == (unknown.clip_id, unknown.labels)
    assert torch.equal(known.video, unknown.video)


def test_where_nothing_can_be_read_the_run_stops(clips: list[Clip]):
    with pytest.raises(
        ValueError,
        match=r"3\.mp4: cannot be read, nor can any of 20 others; the last: .*mp4: ",
    ):
        dataset([clips[3], clips[5]], FaultPolicy("replace"))[0, 0]


@pytest.mark.parametrize("on_device", [False, True])
def test_a_file_that_counts_as_wrong_keeps_its_place(
    clips: list[Clip], on_device: bool
):
    data = dataset(
        clips, FaultPolicy("count_wrong"), view=EVAL, on_device=on_device
    )
    batch = Collate()([data[2], data[3]])
    rendered = Collate().render(batch) if isinstance(batch, PlaneBatch) else batch
    assert rendered.clip_id == ["2", "3"]
    assert rendered.label.tolist() == [2, 3]
    assert [bool(fault) for fault in rendered.fault] == [False, True]
    assert rendered.video.shape == (2, 6, 4, 3, 16, 16)
    assert rendered.video[0].any()
    assert not rendered.video[1].any()


def test_a_clip_that_fails_is_read_once_more_in_sequence(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
):
    """The plan of packets may be wrong about a file that decodes from its beginning."""
    from data_modules.video.track import FileTrack

    planned: Callable[..., Any] = FileTrack.pictures

    def pictures(track: FileTrack, ranks: frozenset[int]) -> Any:
        if not track._sequential:
            raise ValueError("the plan is wrong")
        return planned(track, ranks)

    expected = dataset(clips, FaultPolicy("stop"))[1, 0]
    monkeypatch.setattr(FileTrack, "pictures", pictures)
    sample = dataset(clips, FaultPolicy("stop"))[1, 0]
    assert sample.fault == ""
    assert torch.equal(sample.video, expected.video)
