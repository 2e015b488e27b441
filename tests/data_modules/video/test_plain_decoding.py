"""Frame i of this package is frame i of the ffmpeg program, whatever the container and the codec do."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_modules.video.decode import open_video
from tests.data_modules import field_pictures
from tests.data_modules.ffmpeg import encoded, ffmpeg, plain_frames, ramp

SIZE = (64, 96)  # below, libx265 corrupts memory
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", 18, "-g", 12, "-bf", 3)
X265 = ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params")
QUIET = "log-level=none:pools=none:frame-threads=1:keyint=12"
MPEG2 = ("-c:v", "mpeg2video", "-q:v", 3, "-bf", 2)
MPEG4 = ("-c:v", "mpeg4", "-q:v", 3, "-bf", 2)
VPX = (
    "-b:v",
    "300k",
    "-auto-alt-ref",
    1,
    "-lag-in-frames",
    16,
    "-deadline",
    "realtime",
    "-cpu-used",
    8,
)
AV1 = ("-c:v", "libsvtav1", "-preset", 12, "-g", 16, "-svtav1-params", "lp=1")

ENCODED: dict[str, tuple[object, ...]] = {
    "h264.mp4": X264,
    "h264.mkv": X264,
    "h264.ts": X264,
    "h264.m2ts": X264,
    "h264.flv": X264,
    "h264.avi": X264,
    "h264.asf": X264,
    "h264.3gp": X264,
    "raw.h264": X264,
    "pyramid.mp4": (*X264, "-x264-params", "bframes=7:b-adapt=0:b-pyramid=normal"),
    "open.mp4": (*X264, "-x264-params", "bframes=3:b-adapt=0:open-gop=1"),
    "open.ts": (*X264, "-x264-params", "bframes=3:b-adapt=0:open-gop=1"),
    "interlaced.mp4": (*X264, "-x264-params", "b-adapt=0:tff=1"),
    "rolling_intra.mp4": (*X264, "-x264-params", "intra-refresh=1:bframes=0"),
    "ten_bits.mp4": (*X264[:2], "-pix_fmt", "yuv420p10le", "-g", 12),
    "422.mp4": (*X264[:2], "-pix_fmt", "yuv422p", "-g", 12),
    "hevc.mp4": (*X265, f"{QUIET}:bframes=3"),
    "hevc.ts": (*X265, f"{QUIET}:bframes=3"),
    "hevc_open.mkv": (*X265, f"{QUIET}:bframes=4:b-pyramid=1:b-adapt=0:open-gop=1"),
    "raw.hevc": (*X265, f"{QUIET}:bframes=3"),
    "mpeg4.avi": MPEG4,
    "mpeg4.mp4": MPEG4,
    "xvid.avi": ("-c:v", "libxvid", "-q:v", 3, "-bf", 2),
    "mpeg2.ts": MPEG2,
    "mpeg2.mpg": (*MPEG2, "-f", "vob"),
    "mpeg2_fields.ts": (*MPEG2, "-flags", "+ilme+ildct"),
    "mpeg1.mpg": ("-c:v", "mpeg1video", "-q:v", 3, "-bf", 2),
    "vp8.webm": ("-c:v", "libvpx", *VPX),
    "vp9.webm": ("-c:v", "libvpx-vp9", *VPX),
    "vp9.mp4": ("-c:v", "libvpx-vp9", *VPX),
    "av1.mp4": AV1,
    "av1.mkv": AV1,
    "mjpeg.avi": ("-c:v", "mjpeg", "-q:v", 3),
    "mjpeg.mov": ("-c:v", "mjpeg", "-q:v", 3),
    "prores.mov": ("-c:v", "prores_ks"),
    "ffv1.mkv": ("-c:v", "ffv1"),
    "flv1.flv": ("-c:v", "flv", "-q:v", 3),
    "wmv.wmv": ("-c:v", "wmv2", "-q:v", 3),
    "theora.ogv": ("-c:v", "libtheora", "-q:v", 6),
    "gif.gif": (),
}

SETTS = ("-bsf:v", "setts=pts=DTS")
COPIED: dict[
    str, tuple[str, tuple[object, ...], tuple[object, ...]]
] = {  # source, options of reading, of writing
    "begins_late.mp4": (
        "h264.mp4",
        ("-ss", 0.3),
        (),
    ),  # an edit list leaves frames out
    "begins_late.mkv": ("h264.mp4", ("-ss", 0.7), ()),
    "fragments.mp4": ("h264.mp4", (), ("-movflags", "frag_keyframe+empty_moov")),
    "a_fragment_a_frame.mp4": (
        "h264.mp4",
        (),
        ("-movflags", "frag_every_frame+empty_moov+default_base_moof"),
    ),
    "negative_offsets.mp4": (
        "pyramid.mp4",
        (),
        ("-movflags", "negative_cts_offsets"),
    ),
    "no_edit_list.mp4": ("h264.mp4", (), ("-use_editlist", 0)),
    "from_500_s.mkv": ("h264.mp4", (), ("-output_ts_offset", 500)),
    "from_26_h.ts": ("h264.mp4", (), ("-output_ts_offset", 95000)),
    "below_0.mkv": (
        "h264.mp4",
        (),
        ("-output_ts_offset", -0.5, "-avoid_negative_ts", "disabled"),
    ),
    "below_0.mp4": (
        "h264.mp4",
        (),
        ("-output_ts_offset", -0.5, "-avoid_negative_ts", "disabled"),
    ),
    "uneven.mp4": (
        "h264.mp4",
        (),
        ("-bsf:v", "setts=pts=PTS*PTS/2048:dts=DTS*DTS/2048-4000"),
    ),
    "raw.mp4": ("raw.h264", ("-r", 25), ()),
    "raw.avi": ("raw.h264", ("-r", 25), ()),
    "raw_hevc.mp4": ("raw.hevc", ("-r", 25), ()),
    "decoding_times.mkv": ("h264.mkv", (), SETTS),
    "decoding_times.ts": ("h264.ts", (), SETTS),
    "decoding_times_mpeg2.mp4": ("mpeg2.ts", (), SETTS),
    "doubled_times.mkv": (
        "h264.mkv",
        (),
        ("-bsf:v", "setts=pts=if(eq(mod(N\\,5)\\,0)\\,PTS\\,PTS+40)"),
    ),
    "begins_between_keys.ts": ("h264.ts", (), ("-bsf:v", "noise=drop=lt(n\\,5)")),
    "begins_between_keys.mkv": ("h264.mp4", (), ("-bsf:v", "noise=drop=lt(n\\,5)")),
    "begins_between_keys.mp4": (
        "rolling_intra.mp4",
        (),
        ("-bsf:v", "noise=drop=lt(n\\,5)"),
    ),
    "turned.mp4": ("h264.mp4", ("-display_rotation", 90), ()),
    "sound_first.mp4": (
        "h264.mp4",
        ("-f", "lavfi", "-i", "sine=d=2"),
        ("-map", 0, "-map", 1),
    ),
    "sound_first.mkv": (
        "h264.mp4",
        ("-f", "lavfi", "-i", "sine=d=2"),
        ("-map", 0, "-map", 1),
    ),
    "sound_first.ts": (
        "h264.mp4",
        ("-f", "lavfi", "-i", "sine=d=2"),
        ("-map", 0, "-map", 1, "-c:a", "mp2"),
    ),
}

JOINED: dict[str, Sequence[str]] = {
    "two.ts": ("h264.ts", "h264.ts"),
    "three.ts": ("h264.ts", "open.ts", "h264.ts"),
    "two.m2ts": ("h264.m2ts", "h264.m2ts"),
    "hevc.ts": ("hevc.ts", "hevc.ts"),
    "mpeg2.ts": ("mpeg2.ts", "mpeg2.ts"),
    "two.mpg": ("mpeg2.mpg", "mpeg2.mpg"),
    "two.mkv": ("h264.mkv", "h264.mkv"),
    "late_first.ts": ("from_26_h.ts", "h264.ts"),
    "late_last.ts": ("h264.ts", "from_26_h.ts"),
    "goes_on.ts": ("h264.ts", "next.ts"),
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a file of one of the tables above, once."""
    folder = tmp_path_factory.mktemp("files")

    def make(name: str) -> Path:
        path = folder / name
        if path.exists():
            return path
        if name in COPIED:
            source, reading, writing = COPIED[name]
            ffmpeg(*reading, "-i", make(source), "-c:v", "copy", *writing, path)
            return path
        if name == "next.ts":
            ffmpeg(
                "-i", make("h264.ts"), "-c", "copy", "-output_ts_offset", 1.44, path
            )
            return path
        return encoded(path, *ENCODED[name], frames=ramp(36, *SIZE))

    return make


def compare(path: Path, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, float]:
    """All frames at once, each alone and a check; the times and the rate."""
    expected = plain_frames(path, *size).astype(np.float32)
    assert len(expected) > 20
    with open_video(path) as video:
        assert (video.num_frames, video.height, video.width) == expected.shape
        frames = video.frames(range(len(expected)))
        pixels = frames.pixels.float().mean(1).numpy()
        assert np.abs(pixels - expected).mean((1, 2)).max() < 4
        video.check()
        fps = video.fps
    for rank in range(len(expected)):
        with open_video(path) as video:  # anew, so that nothing was decoded before
            assert np.array_equal(
                video.frames([rank]).pixels.float().mean(1).numpy()[0], pixels[rank]
            ), rank
    return frames.seconds.numpy(), fps


def test_the_ramp_tells_frames_apart():
    frames = ramp(36, *SIZE).astype(np.float32)
    apart = [
        np.abs(frames[i] - frames[j]).mean() for i in range(36) for j in range(i)
    ]
    assert min(apart) > 5


@pytest.mark.parametrize("name", ENCODED)
def test_containers_and_codecs(make: Callable[[str], Path], name: str):
    seconds, fps = compare(make(name))
    assert fps == pytest.approx(25)
    assert seconds == pytest.approx(np.arange(36) / 25, abs=2e-3)


@pytest.mark.parametrize("name", COPIED)
def test_what_copying_makes_of_a_file(make: Callable[[str], Path], name: str):
    seconds, fps = compare(make(name), SIZE[::-1] if name == "turned.mp4" else SIZE)
    assert (np.diff(seconds) > 0).all()
    if name != "uneven.mp4":
        assert fps == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize("name", JOINED)
def test_streams_that_were_joined(
    make: Callable[[str], Path], tmp_path: Path, name: str
):
    path = tmp_path / name
    path.write_bytes(b"".join(make(part).read_bytes() for part in JOINED[name]))
    seconds, fps = compare(path)
    assert len(seconds) == 36 * len(JOINED[name])
    assert fps == pytest.approx(25)
    assert seconds == pytest.approx(np.arange(len(seconds)) / 25, abs=2e-3)


@pytest.mark.parametrize("suffix", ["h264", "mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize(
    "in_fields",
    [lambda i: True, lambda i: i % 4 != 2],
    ids=["fields", "fields and frames"],
)
def test_pictures_in_fields(
    tmp_path: Path, in_fields: Callable[[int], bool], suffix: str
):
    raw, path = tmp_path / "raw.h264", tmp_path / f"fields.{suffix}"
    raw.write_bytes(field_pictures.stream(25, in_fields))
    if suffix != "h264":
        ffmpeg(
            "-r",
            25,
            "-i",
            raw,
            "-c",
            "copy",
            *(SETTS if suffix in ("mkv", "ts") else ()),
            path,
        )
    seconds, _ = compare(raw if suffix == "h264" else path, field_pictures.SIZE)
    assert (np.diff(seconds) > 0).all()


def test_a_lost_part_of_a_transport_stream_is_still_damage(
    make: Callable[[str], Path], tmp_path: Path
):
    """One packet of 188 bytes from inside a picture that is no last one."""
    noise = np.random.default_rng(0).integers(0, 256, (24, *SIZE), np.uint8)
    data = encoded(tmp_path / "whole.ts", *X264, frames=noise).read_bytes()
    parts = [data[start : start + 188] for start in range(0, len(data), 188)]
    video = [
        number
        for number, part in enumerate(parts)
        if part[1] & 0x5F == 1 and not part[1] & 0x40
    ]  # PID 256
    del parts[video[len(video) // 2]]
    (tmp_path / "lost.ts").write_bytes(b"".join(parts))
    with (
        pytest.raises(ValueError, match=r"lost\.ts: damaged at packet"),
        open_video(tmp_path / "lost.ts") as opened,
    ):
        opened.frames(range(24))


def test_a_cut_file_with_longer_sound(make: Callable[[str], Path], tmp_path: Path):
    data = make("sound_first.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 6 // 10])
    with (
        pytest.raises(ValueError, match=r"cut\.mkv: (cut short|damaged)"),
        open_video(tmp_path / "cut.mkv") as video,
    ):
        video.check()
