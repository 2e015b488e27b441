"""The order of pictures by their slices, against that in which a decoder hands them out."""

from pathlib import Path

import av
import numpy as np
import pytest

from data_modules.video.headers.picture_order import PictureOrder
from tests.data_modules.ffmpeg import encoded, ffmpeg, ramp

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", 12, "-x264-params")
X265 = ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params")
QUIET = "log-level=none:pools=none:frame-threads=1:keyint=12"
STREAMS: dict[str, tuple[object, ...]] = {
    "none.mp4": (*X264, "bframes=0"),
    "flat.mp4": (*X264, "bframes=3:b-adapt=0:b-pyramid=none"),
    "pyramid.mkv": (*X264, "bframes=7:b-adapt=0:b-pyramid=normal"),
    "open.mp4": (*X264, "bframes=3:b-adapt=0:open-gop=1"),
    "slices.mp4": (*X264, "bframes=3:slices=3"),
    "interlaced.mp4": (*X264, "bframes=3:b-adapt=0:tff=1"),
    "buffer_model.mp4": (*X264, "bframes=3:b-adapt=0:nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:aud=1"),
    "planes.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-g", 12, "-bf", 3),
    "marked.ts": (*X264, "bframes=3:b-adapt=0:b-pyramid=normal"),
    "marked.h264": (*X264, "bframes=3"),
    "hevc.mp4": (*X265, f"{QUIET}:bframes=3:open-gop=0"),
    "hevc_open.mkv": (*X265, f"{QUIET}:bframes=4:b-pyramid=1:b-adapt=0:open-gop=1"),
    "hevc_radl.mp4": (*X265, f"{QUIET}:bframes=4:b-adapt=0:open-gop=0:radl=2"),
    "hevc_layers.mp4": (*X265, f"{QUIET}:bframes=4:b-adapt=0:temporal-layers=2"),
    "hevc.ts": (*X265, f"{QUIET}:bframes=3"),
}  # fmt: skip


def read(path: Path) -> tuple[PictureOrder, list[int | None]]:
    """What slices say, and the packets in the order in which their pictures come out of a decoder."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        context = stream.codec_context
        told = PictureOrder(
            context.codec.canonical_name, bytes(context.extradata or b"")
        )
        told.extend(packets)
        context.flush_buffers()
        for number, packet in enumerate(packets):
            packet.pts = number
        frames = [
            frame for packet in [*packets, None] for frame in context.decode(packet)
        ]
    return told, [frame.pts for frame in frames]


@pytest.mark.parametrize("name", STREAMS)
def test_equals_what_comes_out_of_a_decoder(tmp_path: Path, name: str):
    told, expected = read(
        encoded(tmp_path / name, *STREAMS[name], frames=ramp(40, 64, 96))
    )
    found = told.order()
    assert found is not None
    assert found.tolist() == expected
    assert (expected == list(range(40))) == (
        name in ("none.mp4", "slices.mp4")
    )  # here x264 takes none


def test_numbers_that_begin_anew_many_times(tmp_path: Path):
    """The low bits of x264's numbers are at least 4, so 300 pictures of one sequence pass over them often."""
    flat = np.zeros((300, 16, 16), np.uint8)
    told, expected = read(
        encoded(
            tmp_path / "a.mp4",
            *X264,
            "bframes=2:b-adapt=0:keyint=300:scenecut=0",
            frames=flat,
        )
    )
    assert (found := told.order()) is not None
    assert found.tolist() == expected


def test_nothing_is_told_where_slices_do_not_tell_it(tmp_path: Path):
    path = encoded(tmp_path / "a.h264", *X264, "bframes=3")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        extradata = bytes(container.streams.video[0].codec_context.extradata or b"")
    assert extradata[:3] == b"\0\0\1"
    for sets, pictures in [
        (b"", packets[1:5]),
        (extradata, [*packets, b"\0\0\1\x09\xf0"]),
    ]:
        told = PictureOrder("h264", sets)
        told.extend(pictures)
        assert told.order() is None


def test_two_ways_of_numbering_tell_nothing(tmp_path: Path):
    """Raw streams one after the other, the second without B frames and so without numbers."""
    parts = [
        encoded(tmp_path / f"{b}.h264", *X264, f"bframes={b}").read_bytes()
        for b in (3, 0)
    ]
    (tmp_path / "joined.h264").write_bytes(b"".join(parts))
    assert read(tmp_path / "joined.h264")[0].order() is None


def test_pictures_of_hevc_that_may_be_hidden(tmp_path: Path):
    path = encoded(
        tmp_path / "a.mp4", *STREAMS["hevc.mp4"], frames=ramp(40, 64, 96)
    )
    hidden = tmp_path / "b.mkv"
    ffmpeg("-i", path, "-c", "copy", hidden)
    data = hidden.read_bytes()
    start = data.index(
        b"\x44\1"
    )  # the only picture parameter set: two numbers of one bit, then two flags
    assert data[start + 2] >> 6 == 3
    hidden.write_bytes(
        data[: start + 2] + bytes([data[start + 2] | 1 << 4]) + data[start + 3 :]
    )
    with av.open(str(hidden)) as container:
        context = container.streams.video[0].codec_context
        told = PictureOrder("hevc", bytes(context.extradata or b""))
        told.extend([packet for packet in container.demux(video=0) if packet.size])
    assert told.order() is None
