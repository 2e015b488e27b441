from collections import Counter
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from data_modules.sampling.papers import (
    AIMKineticsSampling,
    RoundedSegmentSampling,
    Side4VideoKineticsSampling,
    Side4VideoRetrievalSampling,
    Side4VideoSomethingSampling,
    VideoMAESampling,
)
from data_modules.sampling.randomness import keyed_generator
from data_modules.sampling.schemes import (
    DenseSampling,
    FpsSampling,
    Length,
    Sampling,
    SecondsSampling,
    SegmentSampling,
)

SEGMENTS = [
    SegmentSampling(), SegmentSampling(1), SegmentSampling(16),
    RoundedSegmentSampling(8), RoundedSegmentSampling(1), Side4VideoSomethingSampling(8), Side4VideoKineticsSampling(8),
    Side4VideoRetrievalSampling(8), Side4VideoRetrievalSampling(1),
]  # fmt: skip
WINDOWS = [
    DenseSampling(), DenseSampling(16, 4), DenseSampling(1, 4), DenseSampling(4, 2, spacing="centres"),
    FpsSampling(8, 4.0), FpsSampling(4, 60.0), SecondsSampling(8, 2.0), SecondsSampling(1, 0.5),
    VideoMAESampling(8, 4), VideoMAESampling(1, 4),
]  # fmt: skip
LOOPED = [
    DenseSampling(8, 8, padding="loop"),
    AIMKineticsSampling(8, 4),
    FpsSampling(8, 2.0, padding="loop"),
]
SCHEMES = [*SEGMENTS, *WINDOWS, *LOOPED]
LENGTHS = [1, 2, 7, 8, 9, 57, 58, 300]


def video(num_frames: int, fps: float = 25) -> Length:
    return Length(num_frames, float(fps))


def drawn(scheme: Sampling, length: Length, count: int) -> np.ndarray:
    return np.stack(
        [scheme.train(length, keyed_generator(0, k, "")) for k in range(count)]
    )


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("num_frames", LENGTHS)
def test_indices_are_frames_of_the_video(scheme: Sampling, num_frames: int):
    clips = [
        *drawn(scheme, video(num_frames), 20)[None],
        *(scheme.test(video(num_frames), views) for views in (1, 2, 5)),
    ]
    for clip in clips:
        assert clip.dtype == np.int64
        assert clip.shape[-1] == scheme.num_frames
        assert clip.min() >= 0
        assert clip.max() < num_frames
        if scheme not in LOOPED:
            assert (np.diff(clip) >= 0).all()
    assert scheme.test(video(num_frames), 5).shape == (5, scheme.num_frames)


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_training_is_a_function_of_the_key(scheme: Sampling):
    def draw(epoch: int, name: str = "a") -> tuple[int, ...]:
        return tuple(scheme.train(video(300), keyed_generator(1, epoch, name)))

    assert draw(0) == draw(0)
    assert len({draw(epoch) for epoch in range(20)} | {draw(0, "b")}) > 10


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_views_are_the_same_each_time_and_rise(scheme: Sampling):
    first, again = scheme.test(video(301), 4), scheme.test(video(301), 4)
    assert (first == again).all()
    assert (np.diff(first[:, 0]) > 0).all()


def chi_squared(counts: Counter[int]) -> float:
    """Over its degrees of freedom, for equal expectations: near 1; above 2 with probability below 1e-4 here."""
    expected = sum(counts.values()) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts.values()) / (
        len(counts) - 1
    )


@pytest.mark.parametrize("length", [8, 9, 15, 300])
def test_segments_share_out_the_whole_video_evenly(length: int):
    clips = drawn(SegmentSampling(8), video(length), 4000)
    for j, column in enumerate(clips.T):
        first, last = (
            floor(Fraction(j * length, 8)),
            floor(Fraction((j + 1) * length, 8)),
        )
        counts = Counter(column.tolist())
        assert set(counts) == set(range(first, last))
        assert len(counts) == 1 or chi_squared(counts) < (
            11 if len(counts) == 2 else 2
        )


def test_dense_starts_are_uniform_over_every_place_that_fits():
    counts = Counter(drawn(DenseSampling(4, 8), video(64), 4000)[:, 0].tolist())
    assert set(counts) == set(range(64 - 25 + 1))
    assert chi_squared(counts) < 2


def test_other_starts_and_segments_are_uniform():
    starts = Counter(drawn(FpsSampling(4, 4.0), video(60, 30), 4000)[:, 0].tolist())
    assert set(starts) == set(range(60 - 22))  # offsets 0, 7, 15, 22
    middle = Counter(
        drawn(RoundedSegmentSampling(4), video(81), 4000)[:, 1].tolist()
    )
    assert set(middle) == set(range(20, 41))  # s = 20, with both ends
    assert chi_squared(starts) < 2
    assert chi_squared(middle) < 2.5


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("views", [1, 2, 3])
def test_segment_views_are_equal_steps_inside_each_segment(length: int, views: int):
    segment = Fraction(length, 8)
    expected = [
        [
            floor(j * segment + segment * Fraction(k + 1, views + 1))
            for j in range(8)
        ]
        for k in range(views)
    ]
    assert SegmentSampling(8).test(video(length), views).tolist() == expected


def test_segment_centres_by_hand():
    assert SegmentSampling(4).test(video(40), 1).tolist() == [[5, 15, 25, 35]]
    assert SegmentSampling(8).test(video(4), 1).tolist() == [
        [0, 0, 1, 1, 2, 2, 3, 3]
    ]  # shorter than the clip


def test_dense_by_hand():
    assert DenseSampling(4, 8).test(video(25), 1).tolist() == [[0, 8, 16, 24]]
    assert DenseSampling(4, 2).test(video(17), 3).tolist() == [
        [0, 2, 4, 6],
        [5, 7, 9, 11],
        [10, 12, 14, 16],
    ]
    assert DenseSampling(4, 2).test(video(18), 1).tolist() == [[5, 7, 9, 11]]
    assert DenseSampling(4, 8).test(video(10), 2).tolist() == [
        [0, 8, 9, 9],
        [0, 8, 9, 9],
    ]  # repeats its last frame
    assert DenseSampling(4, 4, padding="loop").test(video(10), 1).tolist() == [
        [0, 4, 8, 2]
    ]
    # 18 frames leave 12 places for a span of 7: the middles of 3 parts of 4
    assert DenseSampling(4, 2, spacing="centres").test(video(18), 3)[
        :, 0
    ].tolist() == [
        2,
        6,
        10,
    ]


def test_rates_by_hand():
    # 30 fps shown at 4: every 7.5th frame; 60 frames leave 60 - 23 = 37 places before the last
    assert FpsSampling(4, 4.0).test(video(60, 30), 1).tolist() == [[18, 25, 33, 40]]
    assert FpsSampling(4, 4.0).test(video(60, 30), 2).tolist() == [
        [0, 7, 15, 22],
        [37, 44, 52, 59],
    ]
    assert FpsSampling(4, 50.0).test(video(2, 25), 1).tolist() == [
        [0, 0, 1, 1]
    ]  # above the video's rate
    # 2 s of 25 fps in 4 frames: every 12.5th
    assert SecondsSampling(4, 2.0).test(video(38, 25), 1).tolist() == [
        [0, 12, 25, 37]
    ]


def test_a_rate_equal_to_the_videos_is_every_frame():
    for rate in (24000 / 1001, 25.0, 30000 / 1001, 1 / 3):
        assert FpsSampling(300, rate).test(video(300, rate), 1).tolist() == [
            list(range(300))
        ]
        assert DenseSampling(300, 1).test(video(300, rate), 1).tolist() == [
            list(range(300))
        ]


@pytest.mark.parametrize("rate", [12.0, 15.0, 24.0, 29.97, 60.0])
def test_the_same_seconds_are_seen_at_any_rate(rate: float):
    length = Length(round(10 * rate), rate)
    for scheme in (FpsSampling(8, 4.0), SecondsSampling(8, 2.0)):
        seen = scheme.test(length, 1)[0] / rate
        wanted = seen[0] + np.arange(8) / 4
        assert np.abs(seen - wanted).max() < 1 / rate


def test_rounded_segments_by_hand():
    # F = 30, T = 4: s = 7.25, edges 0, 7, 14 (14.5 to even), 22, 29
    scheme = RoundedSegmentSampling(4)
    assert scheme.test(video(30), 1).tolist() == [[3, 10, 18, 25]]
    assert scheme.test(video(30), 2).tolist() == [[2, 9, 16, 24], [4, 11, 19, 26]]
    clips = drawn(scheme, video(30), 1000)
    assert [set(column.tolist()) for column in clips.T] == [
        set(range(0, 8)), set(range(7, 15)), set(range(14, 23)), set(range(22, 30)),
    ]  # fmt: skip
    assert scheme.test(video(1), 1).tolist() == [[0, 0, 0, 0]]


def test_side4video_on_something_by_hand():
    # F = 30, T = 4: s = 7.25, round(j s) = 0, 7, 14, 22; one view adds floor(3.625), two add 2 and 4
    scheme = Side4VideoSomethingSampling(4)
    assert scheme.test(video(30), 1).tolist() == [[3, 10, 17, 25]]
    assert scheme.test(video(30), 2).tolist() == [[2, 9, 16, 24], [4, 11, 18, 26]]
    clips = drawn(scheme, video(30), 1000)
    assert [(column.min(), column.max()) for column in clips.T] == [
        (0, 6),
        (7, 14),
        (15, 21),
        (22, 29),
    ]


def test_side4video_shows_all_of_a_short_video():
    scheme = Side4VideoSomethingSampling(8)
    clips = drawn(scheme, video(5), 500)
    assert all(set(clip.tolist()) == set(range(5)) for clip in clips)
    assert {
        frame
        for clip in clips
        for frame, count in Counter(clip.tolist()).items()
        if count > 1
    } == set(range(5))
    assert (drawn(scheme, video(8), 3) == np.arange(8)).all()


def test_side4video_on_kinetics_by_hand():
    # F = 30, T = 4: F/T = 7.5; starts of 4 clips floor(0, 2.17, 4.33, 6.5)
    scheme = Side4VideoKineticsSampling(4)
    assert scheme.test(video(30), 1).tolist() == [[0, 7, 15, 22]]
    assert scheme.test(video(30), 4).tolist() == [
        [0, 7, 15, 22],
        [2, 9, 17, 24],
        [4, 11, 19, 26],
        [6, 13, 21, 28],
    ]
    assert scheme.test(video(2), 3).tolist() == [[0, 0, 1, 1]] * 3
    assert (
        drawn(scheme, video(30), 50)
        == drawn(RoundedSegmentSampling(4), video(30), 50)
    ).all()


def test_side4video_on_retrieval_by_hand():
    # F = 11, T = 4: every second frame is 0, 2, 4, 6, 8, 10, of which those numbered 0, 1.67, 3.33, 5
    scheme = Side4VideoRetrievalSampling(4)
    assert scheme.test(video(11), 1).tolist() == [[0, 2, 6, 10]]
    assert scheme.test(video(11), 2).tolist() == [
        [0, 2, 6, 10],
        [1, 3, 5, 9],
    ]  # the second has 1, 3, 5, 7, 9
    assert scheme.test(video(12), 1).tolist() == [[0, 3, 6, 9]]
    assert scheme.test(video(3), 1).tolist() == [[0, 0, 1, 2]]
    clips = drawn(
        scheme, video(11), 500
    )  # 4 segments of 2, and three frames are left
    assert [set(column.tolist()) for column in clips.T] == [
        {0, 1},
        {2, 3},
        {4, 5},
        {6, 7},
    ]
    assert (
        drawn(scheme, video(3), 50) == drawn(SegmentSampling(4), video(3), 50)
    ).all()


@pytest.mark.parametrize(
    "length", [12, 13, 23, 24, 35, 36, 250, 299, 300, 451, 1000]
)
def test_side4video_on_retrieval_is_every_dth_frame_thinned_to_twelve(length: int):
    every = [
        frame + 1 for frame in range(0, length, length // 12)
    ]  # names of files count from 1
    thinned = [every[floor(Fraction(j * (len(every) - 1), 11))] for j in range(12)]
    shown = Side4VideoRetrievalSampling().test(video(length), 1)[0]
    assert (shown + 1).tolist() == thinned


def test_aim_on_kinetics_by_hand():
    # F = 300, T s = 128: 173 places, the middles of three parts: floor(173/6, 173/2, 865/6)
    clips = AIMKineticsSampling(32, 4).test(video(300), 3)
    assert clips[:, 0].tolist() == [28, 86, 144]
    assert (np.diff(clips) == 4).all()
    assert set(drawn(AIMKineticsSampling(4, 4), video(20), 200)[:, 0]) == set(
        range(5)
    )
    assert (
        AIMKineticsSampling(4, 4).test(video(10), 3).tolist() == [[0, 4, 8, 2]] * 3
    )  # starts again


def test_videomae_by_hand():
    # T = 4, s = 3: 12 frames in steps of 4, the last one back from 12 to 11
    scheme = VideoMAESampling(4, 3)
    clips = drawn(scheme, video(14), 200)
    assert {tuple(clip) for clip in clips.tolist()} == {
        (0, 4, 8, 11),
        (1, 5, 9, 12),
    }
    # 11 frames: floor(11/3) = 3 steps over [0, 11], at 0, 5.5 and the end, then the last frame
    assert drawn(scheme, video(11), 1).tolist() == [[0, 5, 10, 10]]
    assert drawn(scheme, video(2), 1).tolist() == [[1, 1, 1, 1]]
    # 26 frames: M = 9 of them, 5 places more than T; starts 0, floor(5/3), floor(10/3), 5 in strides
    assert scheme.test(video(26), 4).tolist() == [
        [0, 3, 6, 9],
        [3, 6, 9, 12],
        [9, 12, 15, 18],
        [15, 18, 21, 24],
    ]
    assert scheme.test(video(7), 2).tolist() == [[0, 3, 6, 6]] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SegmentSampling(0), "num_frames: expected 1 or more, got 0"),
        (
            lambda: RoundedSegmentSampling(0),
            "num_frames: expected 1 or more, got 0",
        ),
        (lambda: DenseSampling(8, 0), "stride: expected 1 or more, got 0"),
        (lambda: FpsSampling(8, 0.0), "fps: expected more than 0, got 0"),
        (lambda: SecondsSampling(8, -1.0), "seconds: expected more than 0, got -1"),
        (
            lambda: FpsSampling(8, 2.0).test(video(30, 0), 1),
            "fps of the video: expected more than 0, got 0",
        ),
        *(
            (
                lambda scheme=scheme: scheme.test(video(0), 1),
                "num_frames of the video: expected 1 or more, got 0",
            )
            for scheme in SCHEMES
        ),
        *(
            (
                lambda scheme=scheme: scheme.test(video(30), 0),
                "views: expected 1 or more, got 0",
            )
            for scheme in SCHEMES
        ),
    ],
)
def test_bad_numbers_are_named(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
