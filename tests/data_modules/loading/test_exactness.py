"""Frame i of the planner is frame i of a plain decoder, bit for bit, in every codec and oddity."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data_modules.transforms.crops import Box
from data_modules.video.decode import VideoReader, open_video
from data_modules.video.track import FileTrack
from tests.data_modules.oddities import (
    ODDITIES,
    Oddity,
    sequential,
    uneven,
    write_odd,
)

PLAIN_FORMATS = {"yuv420p", "yuvj420p"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


def checks(
    video: VideoReader, expected: torch.Tensor, samples: int, seed: int = 0
) -> int:
    """Compare ``samples`` clips of 1 to 10 frames; the number of frames compared."""
    rng, compared = np.random.default_rng(seed), 0
    for sample in range(samples):
        indices = rng.integers(0, len(expected), 1 + sample % 10)
        assert torch.equal(
            video.frames(indices).pixels, expected[torch.as_tensor(indices)]
        ), indices
        compared += len(indices)
    return compared


@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.name)
def test_frames_equal_plain_decoding(folder: Path, odd: Oddity):
    path = write_odd(folder, odd)
    pixels, times = sequential(path)
    expected = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with open_video(path) as video:
        assert video.num_frames == len(expected) == odd.count
        every = video.frames(range(odd.count))
        assert torch.equal(every.pixels, expected)
        assert checks(video, expected, 10) == 55
        video.check()
    if None not in times and (np.diff(times) > 0).all():
        assert every.seconds.tolist() == pytest.approx(
            [time - times[0] for time in times], abs=1e-9
        )
    with open_video(path, sequential=True) as video:
        assert torch.equal(video.frames([30, 7]).pixels, expected[[30, 7]])


@pytest.mark.slow
def test_ten_thousand_frames(folder: Path):
    compared = 0
    for seed, odd in enumerate(ODDITIES):
        path = write_odd(folder, odd)
        expected = torch.from_numpy(sequential(path)[0]).permute(0, 3, 1, 2)
        with open_video(path) as video:
            for rank in range(odd.count):
                assert torch.equal(
                    video.frames([rank]).pixels[0], expected[rank]
                ), (
                    odd.name,
                    rank,
                )
            compared += odd.count + checks(video, expected, 40, seed)
    assert compared >= 10_000


@pytest.mark.parametrize(
    "odd",
    [o for o in ODDITIES if o.pixel_format in PLAIN_FORMATS],
    ids=lambda odd: odd.name,
)
def test_planes_are_those_of_the_decoder(folder: Path, odd: Oddity):
    path, ranks = write_odd(folder, odd), [3, 20, 49]
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    height, width = odd.size
    with open_video(path) as video:
        planes = video.planes(ranks)
        part = video.planes(ranks, Box(5, 7, 21, 33))
    luma, chroma = planes.data.split(
        [planes.height * planes.width, planes.height * planes.width // 2], dim=1
    )
    luma = luma.view(3, planes.height, planes.width)
    chroma = chroma.view(3, 2, planes.height // 2, planes.width // 2)
    assert (planes.height, planes.width, planes.box) == (
        height + height % 2,
        width + width % 2,
        (0, 0, height, width),
    )
    assert (part.height, part.width, part.box) == (22, 34, (1, 1, 21, 33))
    for i, rank in enumerate(ranks):
        for plane, stored in zip(
            (luma[i], *chroma[i]), frames[rank].planes, strict=True
        ):
            samples = np.frombuffer(stored, np.uint8).reshape(-1, stored.line_size)[
                : stored.height, : stored.width
            ]
            assert np.array_equal(plane[: stored.height, : stored.width], samples)
    assert torch.equal(part.data[:, : 22 * 34].view(3, 22, 34), luma[:, 4:26, 6:40])
    assert torch.equal(
        part.data[:, 22 * 34 :].view(3, 2, 11, 17), chroma[:, :, 2:13, 3:20]
    )


def test_which_files_are_planned(folder: Path):
    """Else the exactness of the planner would be that of its fallback."""
    decoded = {
        "h264_no_times.avi", "h264_raw.h264", "mpeg4_b.avi", "mpeg4_b.mp4", "mpeg2.ts", "msmpeg4.avi", "flv1.flv",
        "prores.mov",
    }  # fmt: skip
    for odd in ODDITIES:
        path = write_odd(folder, odd)
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        with open_video(path) as video:
            fed = _fed(video, [odd.count // 2])
        assert (fed == len(packets)) == (
            odd.name in decoded
            or sum(packet.is_keyframe for packet in packets) == 0
        )


def _fed(video: VideoReader, ranks: list[int]) -> int:
    """How many packets the decoder was given."""
    counted, plain = list[int](), FileTrack._decode

    def counting(
        self: FileTrack, packet: av.Packet | None, number: int
    ) -> list[av.VideoFrame]:
        counted.append(number)
        return plain(self, packet, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileTrack, "_decode", counting)
        video.frames(ranks)
    return len(set(counted)) - 1  # the last call empties the decoder


def test_times_of_uneven_frames(folder: Path):
    for odd in ODDITIES:
        if odd.ticks is uneven:
            with open_video(write_odd(folder, odd)) as video:
                seconds = np.array([uneven(i) for i in range(50)]) / 1000
                assert video.frames([0, 21, 49]).seconds.tolist() == pytest.approx(
                    seconds[[0, 21, 49]], abs=1e-3
                )
                assert video.ranks(seconds + 0.002).tolist() == list(range(50))
                assert video.ranks(
                    np.array([-1, seconds[21] - 0.5, 99])
                ).tolist() == [
                    0,
                    20,
                    49,
                ]


def test_an_even_clock_over_frames(folder: Path):
    """Where frames come evenly each tick is a frame; over a gap its frame is shown for many ticks."""
    for odd in ODDITIES:
        with open_video(write_odd(folder, odd)) as video:
            seen = video.at_ticks(np.arange(video.num_frames))
            if odd.ticks is uneven:
                times = (np.arange(50) + 0.5) / video.fps * 1000
                shown = [
                    max(i for i in range(50) if uneven(i) <= time) for time in times
                ]
                assert seen.tolist() == shown
                assert np.count_nonzero(seen == 20) > 15
            elif odd.ticks is Oddity._field_defaults["ticks"]:
                assert seen.tolist() == list(range(video.num_frames))


@pytest.mark.parametrize(
    "name",
    ["h264_open_gop.mp4", "h264.mp4", "vp9.webm", "mpeg4.avi", "hevc_open_gop.mkv"],
)
def test_a_long_video_is_read_again_from_its_key_frames(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    (odd,) = (odd for odd in ODDITIES if odd.name == name)
    path = write_odd(folder, odd)
    expected = torch.from_numpy(sequential(path)[0]).permute(0, 3, 1, 2)
    monkeypatch.setattr("data_modules.video.demux._KEPT_BYTES", 0)
    with open_video(path) as video:
        assert not video._track._packets._kept
        assert checks(video, expected, 10) == 55
        video.check()
