from fractions import Fraction
from math import floor

import numpy as np
import pytest

from data_modules.randomness import keyed_generator
from data_modules.sampling import DenseSampling, Sampling, SegmentSampling

SCHEMES = [SegmentSampling(), SegmentSampling(1), SegmentSampling(16), DenseSampling(), DenseSampling(16, 4)]
LENGTHS = [1, 2, 7, 8, 9, 57, 58, 300]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("length", LENGTHS)
def test_indices_are_sorted_frames_of_the_video(scheme: Sampling, length: int):
    clips = [scheme.train(length, keyed_generator(0, 0, str(k)))[None] for k in range(20)]
    clips += [scheme.test(length, views) for views in (1, 2, 5)]
    for clip in clips:
        assert clip.dtype == np.int64
        assert clip.shape[-1] == scheme.num_frames
        assert clip.min() >= 0
        assert clip.max() < length
        assert (np.diff(clip) >= 0).all()
    assert scheme.test(length, 5).shape == (5, scheme.num_frames)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_training_is_a_function_of_the_key(scheme: Sampling):
    def draw(epoch: int, name: str = "a"):
        return tuple(scheme.train(300, keyed_generator(1, epoch, name)))

    assert draw(0) == draw(0)
    assert len({draw(epoch) for epoch in range(20)} | {draw(0, "b")}) > 10


@pytest.mark.parametrize("length", [8, 9, 15, 300])
def test_segments_share_out_the_whole_video(length: int):
    drawn = np.stack([SegmentSampling(8).train(length, keyed_generator(0, k, "")) for k in range(4000)])
    reached = [set(column.tolist()) for column in drawn.T]
    assert sorted(frame for segment in reached for frame in segment) == list(range(length))
    for j, segment in enumerate(reached):
        first, last = floor(Fraction(j * length, 8)), floor(Fraction((j + 1) * length, 8))
        assert segment == set(range(first, last))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("views", [1, 2, 3])
def test_segment_views_are_equal_steps_inside_each_segment(length: int, views: int):
    segment = Fraction(length, 8)
    expected = [[floor(j * segment + segment * Fraction(k + 1, views + 1)) for j in range(8)] for k in range(views)]
    assert SegmentSampling(8).test(length, views).tolist() == expected


def test_segment_centres_by_hand():
    assert SegmentSampling(4).test(40, 1).tolist() == [[5, 15, 25, 35]]
    assert SegmentSampling(8).test(4, 1).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]  # shorter than the clip


def test_dense_by_hand():
    assert DenseSampling(4, 8).test(25, 1).tolist() == [[0, 8, 16, 24]]
    assert DenseSampling(4, 2).test(17, 3).tolist() == [[0, 2, 4, 6], [5, 7, 9, 11], [10, 12, 14, 16]]
    assert DenseSampling(4, 2).test(18, 1).tolist() == [[5, 7, 9, 11]]
    assert DenseSampling(4, 8).test(10, 2).tolist() == [[0, 8, 9, 9], [0, 8, 9, 9]]  # repeats its last frame


def test_dense_training_starts_everywhere_it_fits():
    starts = {int(DenseSampling(4, 8).train(30, keyed_generator(0, k, ""))[0]) for k in range(300)}
    assert starts == set(range(6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SegmentSampling(0), "num_frames: expected 1 or more, got 0"),
        (lambda: DenseSampling(8, 0), "stride: expected 1 or more, got 0"),
        (lambda: SegmentSampling().test(0, 1), "num_video_frames: expected 1 or more, got 0"),
        (lambda: DenseSampling().test(30, 0), "views: expected 1 or more, got 0"),
    ],
)
def test_bad_numbers_are_named(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
