"""A re-encoded clip is cheap to enter at any frame, and is otherwise what it was made from."""

import math
import resource
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_modules.sampling.schemes import DenseSampling, Length, SegmentSampling
from data_modules.storage.transcode import (
    CopyTask,
    Profile,
    Quality,
    Unfaithful,
    copy_clip,
    keep,
    transcode,
)
from data_modules.video.decode import open_video, probe
from tests.data_modules.video.test_decode import display_matrix
from tests.data_modules.videos import WriteVideo, grey_frames

Packet = tuple[int, bool, bool]  # presentation time, key frame, reference


def moving(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A smooth texture that drifts, a little more in every frame."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    shift = np.cumsum(np.arange(count) % 3 + 1)[:, None, None]
    channels = [
        120 + 60 * np.sin((x + shift) / k) + 50 * np.cos((y - shift) / (k + 3))
        for k in (5, 7, 11)
    ]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def write_timed(
    path: Path,
    times: list[int],
    time_base: Fraction,
    rate: int | None = None,
    **stream: object,
) -> Path:
    """Moving frames, frame i at ``times[i]`` ticks; the mean rate is stated, or another one."""
    mean = Fraction(len(times) - 1, times[-1] - times[0]) / time_base
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=rate or mean.limit_denominator(1001)
        )
        video.height, video.width, video.pix_fmt = 64, 96, "yuv420p"
        video.codec_context.time_base = time_base
        for name, value in stream.items():
            setattr(video.codec_context, name, value)
        for picture, tick in zip(moving(len(times)), times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def packets(path: Path) -> list[Packet]:
    """In decoding order; a picture is a reference where nal_ref_idc of its slices is not 0 (H.264, 7.4.1)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        length = (stream.codec_context.extradata[4] & 3) + 1
        found = list[Packet]()
        for packet in container.demux(stream):
            data, start, reference = bytes(packet), 0, False
            while start < len(data):
                size = int.from_bytes(data[start : start + length], "big")
                header = data[start + length]
                reference |= header & 31 in (1, 5) and header >> 5 & 3 > 0
                start += length + size
            if data:
                found.append((packet.pts, packet.is_keyframe, reference))
        return found


def decoded_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        times = [
            float(frame.pts * frame.time_base)
            for frame in container.decode(video=0)
        ]
    return [time - times[0] for time in times]


@pytest.fixture
def clip(write: WriteVideo) -> Path:
    return write("clip.mkv", moving(70), fps=30, gop=250)


def test_any_frame_takes_at_most_four_decodes(clip: Path, tmp_path: Path) -> None:
    transcode(clip, tmp_path / "copy.mp4", Profile())
    found = packets(tmp_path / "copy.mp4")
    shown = sorted(time for time, _, _ in found)
    keys = [shown.index(time) for time, key, _ in found if key]
    assert keys == [0, 16, 32, 48, 64]
    costs = []
    for number, (_, key, reference) in enumerate(found):
        last_key = max(index for index in range(number + 1) if found[index][1])
        needed = sum(found[index][2] for index in range(last_key, number)) + 1
        costs.append(needed)
        assert reference or not key
    assert max(costs) <= 4
    runs = "".join(
        "r" if reference else "b" for _, _, reference in sorted(found)
    ).split("r")
    assert (
        max(map(len, runs)) == 7
    )  # in the order of presentation: seven that nothing needs between two references


@pytest.mark.parametrize(
    ("ticks", "time_base"),
    [
        ([512 * i for i in range(40)], Fraction(1, 15360)),
        ([1001 * i for i in range(40)], Fraction(1, 30000)),
        ([1001 * i for i in range(40)], Fraction(1, 24000)),
        (np.cumsum([90, 17, 40, 33] * 10).tolist(), Fraction(1, 1000)),
        ([3600 + 3600 * i + i % 7 for i in range(40)], Fraction(1, 90000)),
    ],
    ids=["30", "ntsc", "film", "variable", "late"],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_every_frame_keeps_its_time(
    ticks: list[int], time_base: Fraction, suffix: str, tmp_path: Path
) -> None:
    original = write_timed(tmp_path / f"original.{suffix}", ticks, time_base)
    quality = transcode(original, tmp_path / "copy.mp4", Profile())
    assert quality.num_frames == 40
    assert decoded_times(tmp_path / "copy.mp4") == pytest.approx(
        decoded_times(original), abs=1e-9
    )
    with open_video(original) as before, open_video(tmp_path / "copy.mp4") as after:
        assert after.fps == pytest.approx(before.fps, rel=1e-9)
        for sampling in (SegmentSampling(8), DenseSampling(8, 4)):
            lengths = [
                Length(video.num_frames, video.fps) for video in (before, after)
            ]
            assert np.array_equal(
                sampling.test(lengths[0], 3), sampling.test(lengths[1], 3)
            )


def test_the_rate_of_the_frames_is_kept_whatever_the_header_says(
    tmp_path: Path,
) -> None:
    original = write_timed(
        tmp_path / "original.mkv",
        [40 * i for i in range(20)],
        Fraction(1, 1000),
        rate=50,
    )
    transcode(original, tmp_path / "copy.mp4", Profile())
    assert probe(original).fps == pytest.approx(25)
    assert probe(tmp_path / "copy.mp4").fps == pytest.approx(25)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 18])
def test_short_clips(count: int, write: WriteVideo, tmp_path: Path) -> None:
    original = write("short.mkv", moving(count), fps=12, codec="libvpx-vp9")
    assert transcode(original, tmp_path / "copy.mp4", Profile()).num_frames == count


def test_the_quality_is_what_another_decoder_finds(
    clip: Path, tmp_path: Path
) -> None:
    quality = transcode(clip, tmp_path / "copy.mp4", Profile())
    lumas = list[np.ndarray]()
    for path in (clip, tmp_path / "copy.mp4"):
        with av.open(str(path)) as container:
            lumas.append(
                np.stack(
                    [f.to_ndarray()[:64] for f in container.decode(video=0)]
                ).astype(float)
            )
    assert quality.psnr == pytest.approx(
        10 * math.log10(255**2 / np.square(lumas[0] - lumas[1]).mean()), abs=0.01
    )
    assert quality[:2] == (70, pytest.approx(70 / 30))


def test_the_same_clip_gives_the_same_bytes(clip: Path, tmp_path: Path) -> None:
    copies = set[bytes]()
    for _ in range(3):
        transcode(clip, tmp_path / "copy.mp4", Profile())
        copies.add((tmp_path / "copy.mp4").read_bytes())
    assert len(copies) == 1


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (256, 340, (256, 340)),
        (240, 427, (240, 426)),  # smaller than asked: stays, but for the odd column
        (720, 1280, (256, 456)),  # 455.1
        (1920, 1080, (456, 256)),
        (257, 257, (256, 256)),
        (17, 3000, (16, 3000)),
    ],
)
def test_sizes(height: int, width: int, expected: tuple[int, int]) -> None:
    assert Profile(short_side=256).size(height, width) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((63, 95), (62, 94)), ((128, 192), (64, 96)), ((64, 96), (64, 96))],
)
def test_pictures_are_reduced(
    shape: tuple[int, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    original = tmp_path / "original.mkv"
    with av.open(str(original), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.height, video.width, video.pix_fmt = *shape, "yuv444p"
        for picture in moving(20, *shape):
            container.mux(
                video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            )
        container.mux(video.encode(None))
    assert (
        transcode(original, tmp_path / "copy.mp4", Profile(short_side=64)).psnr > 35
    )
    with av.open(str(tmp_path / "copy.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == expected


def test_the_copy_is_upright_and_silent(tmp_path: Path) -> None:
    original = tmp_path / "original.mp4"
    with av.open(str(original), "w") as container:
        video, sound = (
            container.add_stream("libx264", rate=25),
            container.add_stream("aac", rate=8000, layout="mono"),
        )
        video.height, video.width, video.pix_fmt = 64, 96, "yuv420p"
        for picture in moving(20):
            container.mux(
                video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            )
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
        )
        silence.rate = 8000
        container.mux(
            [*sound.encode(silence), *sound.encode(None), *video.encode(None)]
        )
    display_matrix(original, 0, 1, -1, 0)
    transcode(original, tmp_path / "copy.mp4", Profile())
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        pictures = np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        )
    assert pictures.shape == (20, 96, 64, 3)
    turned = moving(20)[:, ::-1].swapaxes(1, 2)  # the first row on the right
    assert (
        np.abs(pictures.astype(int) - turned).mean() < 6
    )  # turned otherwise it would be over 30


def test_pixels_become_square(tmp_path: Path) -> None:
    original = write_timed(
        tmp_path / "wide.mp4",
        list(range(20)),
        Fraction(1, 25),
        sample_aspect_ratio=Fraction(2),
    )
    transcode(original, tmp_path / "copy.mp4", Profile(short_side=64))
    with av.open(str(tmp_path / "copy.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == (64, 192)
        assert stream.sample_aspect_ratio in (None, 1)


@pytest.mark.parametrize(("colorspace", "color_range"), [(1, 1), (6, 2), (6, 1)])
def test_colors_mean_the_same(
    colorspace: int, color_range: int, tmp_path: Path
) -> None:
    original = write_timed(
        tmp_path / "o.mp4",
        list(range(20)),
        Fraction(1, 25),
        colorspace=colorspace,
        color_range=color_range,
    )
    transcode(original, tmp_path / "copy.mp4", Profile(crf=4))
    with open_video(original) as before, open_video(tmp_path / "copy.mp4") as after:
        difference = (
            before.frames(range(20)).pixels.float()
            - after.frames(range(20)).pixels.float()
        )
    assert difference.abs().mean() < 1.5
    assert difference.mean().abs() < 0.2


def test_a_worse_copy_is_no_copy(write: WriteVideo, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(
        0, 256, (20, 64, 96, 3), dtype=np.uint8
    )
    original = write("noise.mkv", noise, codec="libx264", gop=1)
    with pytest.raises(
        Unfaithful,
        match=r"luma within [\d.]+ dB, under the floor of 33; a lower crf may help",
    ):
        transcode(original, tmp_path / "copy.mp4", Profile(crf=51))
    assert not (tmp_path / "copy.mp4").exists()
    assert not list(tmp_path.glob(".partial*"))


def test_no_room_says_nothing_about_the_original(
    clip: Path, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(
            OSError, match=r"copy\.mp4: cannot be written: File too large"
        ):
            transcode(clip, tmp_path / "copy.mp4", Profile())
        with pytest.raises(
            OSError, match=r"clip\.mp4: cannot be written: File too large"
        ):
            copy_clip(CopyTask("clip.mp4", clip, tmp_path / "copies", Profile()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.rglob("*copy*") if path.is_file()]


def test_a_damaged_original_is_told(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    clip.write_bytes(
        data[: len(data) // 3] + bytes(len(data) // 3) + data[len(data) * 2 // 3 :]
    )
    with pytest.raises(ValueError, match=r"clip\.mkv"):
        transcode(clip, tmp_path / "copy.mp4", Profile())
    assert not (tmp_path / "copy.mp4").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"short_side": 255}, "short_side"), ({"crf": 0}, "crf: expected")],
)
def test_profiles_that_make_no_sense(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Profile(**options)


def test_frame_images_become_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "frames" / "7"
    folder.mkdir(parents=True)
    for number, picture in enumerate(grey_frames(20, 64, 96), start=1):
        av.VideoFrame.from_ndarray(picture, format="rgb24").save(
            folder / f"{number:05d}.png"
        )
    entry = copy_clip(CopyTask("frames/7", folder, tmp_path / "out", Profile()))
    assert (entry.file, entry.num_frames, entry.status) == (
        "frames/7.mp4",
        20,
        "encoded",
    )
    assert entry.source_size == sum(
        file.stat().st_size for file in folder.iterdir()
    )
    with open_video(tmp_path / "out" / "frames" / "7.mp4") as video:
        means = video.frames(range(20)).pixels.float().mean((1, 2, 3))
    assert ((means - 20) / 4).round().tolist() == list(range(20))
    with pytest.raises(
        ValueError, match="frame images only become a video by re-encoding"
    ):
        copy_clip(CopyTask("frames/7", folder, tmp_path / "out", None))


def test_what_cannot_be_encoded_faithfully_is_kept(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[int]()

    def unfaithful(original: Path, copy: Path, profile: Profile) -> Quality:
        tried.append(profile.crf)
        raise Unfaithful("as a test")

    monkeypatch.setattr("data_modules.storage.transcode.transcode", unfaithful)
    entry = copy_clip(
        CopyTask("a/clip.mkv", clip, tmp_path / "out", Profile(crf=20))
    )
    assert tried == [20, 10]
    assert (entry.status, entry.reason, entry.file, entry.num_frames) == (
        "kept",
        "as a test",
        "a/clip.mkv",
        70,
    )
    assert (tmp_path / "out" / "a" / "clip.mkv").read_bytes() == clip.read_bytes()


def test_a_clip_that_does_not_decode_is_kept_as_bad_as_it_is(
    tmp_path: Path,
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(struct.pack("100I", *range(100)))
    entry = copy_clip(CopyTask("bad.mp4", bad, tmp_path / "out", Profile()))
    assert (entry.status, entry.num_frames) == ("damaged", 0)
    assert entry.reason.startswith("cannot be read as a video: ")
    assert (tmp_path / "out" / "bad.mp4").read_bytes() == bad.read_bytes()
    assert (
        keep(CopyTask("bad.mp4", bad, tmp_path / "out", None), "copied", "").status
        == "damaged"
    )
