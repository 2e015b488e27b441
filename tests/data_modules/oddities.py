"""Tiny files of every codec and oddity that video data sets hold, made on the spot."""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import av
import numpy as np

QUIET = "log-level=none:pools=none:frame-threads=1"


class Oddity(NamedTuple):
    """How one file is made.

    Attributes:
        name: of the file; its suffix names the container.
        codec: encoder.
        options: of the encoder.
        pixel_format: stored.
        count: frames.
        size: height and width; below 64 x 96 libx265 corrupts memory.
        gop: largest distance of key frames.
        ticks: presentation time of frame i in 1/1000 s, where it is not 40 i.
    """

    name: str
    codec: str
    options: Mapping[str, str] = MappingProxyType({})
    pixel_format: str = "yuv420p"
    count: int = 50
    size: tuple[int, int] = (64, 96)
    gop: int = 12
    ticks: Callable[[int], int] = lambda i: 40 * i


def uneven(i: int) -> int:
    """Never the same distance twice in a row, with one long gap."""
    return 40 * i + 7 * (i % 3) + (1500 if i > 20 else 0)


X264 = {"crf": "28", "preset": "veryfast"}
VPX = {"deadline": "good", "cpu-used": "8", "crf": "40", "b": "200k"}
SVT = {"preset": "12", "crf": "50", "svtav1-params": "lp=1"}


def _x264(name: str, parameters: str = "", **options: object) -> Oddity:
    return Oddity(
        name,
        "libx264",
        X264 | ({"x264-params": parameters} if parameters else {}),
        **options,
    )


def _x265(name: str, parameters: str, **options: object) -> Oddity:
    return Oddity(
        name,
        "libx265",
        {"preset": "ultrafast", "x265-params": f"{QUIET}:{parameters}"},
        **options,
    )


ODDITIES = [
    _x264("h264.mp4"),
    _x264("h264_one_keyframe.mkv", gop=250),
    _x264("h264_pyramid.mp4", "bframes=7:b-pyramid=normal:b-adapt=0"),
    _x264("h264_strict_pyramid.mkv", "bframes=5:b-pyramid=strict:b-adapt=0"),
    _x264("h264_flat.mp4", "bframes=7:b-pyramid=none:b-adapt=0:scenecut=0"),
    _x264(
        "h264_open_gop.mp4",
        "open-gop=1:bframes=4:b-pyramid=normal:b-adapt=0:scenecut=0",
    ),
    _x264(
        "h264_open_gop.mkv", "open-gop=1:bframes=3:b-pyramid=none:b-adapt=0:ref=4"
    ),
    _x264(
        "h264_open_gop_bluray.ts",
        "open-gop=1:bluray-compat=1:bframes=3:b-pyramid=strict:slices=4:b-adapt=0",
    ),
    _x264("h264_rolling_intra.mp4", "intra-refresh=1:bframes=0"),
    _x264("h264_interlaced.mp4", "tff=1:bframes=2"),
    _x264("h264_slices_cavlc.mp4", "slices=4:cabac=0:weightp=2:ref=6"),
    _x264("h264_uneven.mp4", "bframes=3", ticks=uneven),
    _x264("h264_uneven.mkv", "bframes=3", ticks=uneven),
    _x264("h264_no_times.avi", "bframes=3"),
    _x264("h264_raw.h264", "bframes=3"),
    _x264("h264_10_bit.mp4", pixel_format="yuv420p10le"),
    _x264("h264_422.mp4", pixel_format="yuv422p"),
    _x264("h264_444_odd.mp4", pixel_format="yuv444p", size=(65, 97)),
    _x264("h264_grey.mp4", pixel_format="gray"),
    _x265("hevc.mp4", "open-gop=0:bframes=3"),
    _x265("hevc_open_gop.mp4", "open-gop=1:bframes=4:b-pyramid=1:b-adapt=0"),
    _x265(
        "hevc_open_gop.mkv",
        "open-gop=1:bframes=8:b-pyramid=1:b-adapt=0:ref=5:rc-lookahead=20",
    ),
    _x265("hevc_radl.mp4", "open-gop=0:bframes=4:radl=2:b-adapt=0"),
    _x265("hevc_rolling_intra.mp4", "intra-refresh=1:bframes=0"),
    _x265("hevc_10_bit.mkv", "bframes=3", pixel_format="yuv420p10le"),
    Oddity("vp9.webm", "libvpx-vp9", VPX | {"lag-in-frames": "0"}),
    Oddity(
        "vp9_hidden.webm",
        "libvpx-vp9",
        VPX | {"lag-in-frames": "16", "auto-alt-ref": "1"},
        gop=25,
    ),
    Oddity("vp9_odd.webm", "libvpx-vp9", VPX, size=(65, 97)),
    Oddity("vp9_444.webm", "libvpx-vp9", VPX, pixel_format="yuv444p"),
    Oddity("vp9_uneven.mkv", "libvpx-vp9", VPX, ticks=uneven),
    Oddity("vp8.webm", "libvpx", VPX | {"lag-in-frames": "0"}),
    Oddity(
        "vp8_hidden.webm",
        "libvpx",
        VPX | {"lag-in-frames": "16", "auto-alt-ref": "1"},
        gop=25,
    ),
    Oddity("av1.mp4", "libsvtav1", SVT, gop=16),
    Oddity("av1.mkv", "libsvtav1", SVT, gop=250),
    Oddity(
        "av1_open_gop.mp4",
        "libsvtav1",
        SVT | {"svtav1-params": "lp=1:irefresh-type=1"},
        gop=16,
    ),
    Oddity("mpeg4.avi", "mpeg4", {"qscale": "5"}),
    Oddity("mpeg4.mp4", "mpeg4", {"qscale": "5"}),
    Oddity("mpeg4_b.avi", "mpeg4", {"qscale": "5", "bf": "2"}),
    Oddity("mpeg4_b.mp4", "mpeg4", {"qscale": "5", "bf": "2"}),
    Oddity("mpeg4_odd.avi", "mpeg4", {"qscale": "5"}, size=(65, 97)),
    Oddity("mpeg2.ts", "mpeg2video", {"qscale": "5", "bf": "2"}),
    Oddity("msmpeg4.avi", "msmpeg4", {"qscale": "5"}),
    Oddity("flv1.flv", "flv", {"qscale": "5"}),
    Oddity("mjpeg.avi", "mjpeg", {"qscale": "5"}, "yuvj420p"),
    Oddity("mjpeg_422.mov", "mjpeg", {"qscale": "5"}, "yuvj422p", size=(65, 97)),
    Oddity("mjpeg_444.mkv", "mjpeg", {"qscale": "5"}, "yuvj444p"),
    Oddity("prores.mov", "prores", {"profile": "0"}, "yuv422p10le"),
]


def moving(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """A texture that drifts, with a cut in the middle."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    texture = coarse.repeat(12, axis=0).repeat(12, axis=1)
    for i in range(count):
        top, left = (3 * i) % 90, (5 * i + 40 * (2 * i > count)) % 150
        yield texture[top : top + height, left : left + width]


def write_odd(folder: Path, odd: Oddity) -> Path:
    """Encode one file."""
    path = folder / odd.name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(odd.codec, rate=25, options=dict(odd.options))
        stream.height, stream.width = odd.size
        stream.pix_fmt, stream.thread_count, stream.gop_size = (
            odd.pixel_format,
            1,
            odd.gop,
        )
        timed = odd.ticks is not Oddity._field_defaults["ticks"]
        if timed:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, pixels in enumerate(moving(odd.count, *odd.size)):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels), format="rgb24"
            )
            if timed:
                frame.pts, frame.time_base = odd.ticks(i), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sequential(path: Path) -> tuple[np.ndarray, list[float | None]]:
    """RGB of every frame that a plain decoder gives, and its time."""
    with av.open(str(path), metadata_errors="ignore") as container:
        container.streams.video[0].thread_count = 1
        frames = list(container.decode(video=0))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [
            frame.time for frame in frames
        ]
