"""What the header of an H.264 stream says, against what FFmpeg finds by decoding."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from data_modules.video.decode import open_video
from data_modules.video.demux import opened
from data_modules.video.headers.parameter_set import parameter_set
from data_modules.video.source import Source
from tests.data_modules.videos import noise_frames

VARIANTS: dict[str, dict[str, str]] = {
    "plain": {},
    "no reordering": {"bf": "0"},
    "baseline": {"profile": "baseline"},
    "scaling matrices": {"x264-params": "cqm=jvt"},
    "buffer model": {"x264-params": "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500"},
    "flat B": {"x264-params": "b-pyramid=none:bframes=7"},
    "signal": {
        "x264-params": "videoformat=pal:overscan=show:chromaloc=2:colormatrix=bt709:range=pc"
    },
    "interlaced": {"flags": "+ildct+ilme"},
}


def write(
    path: Path,
    codec: str,
    height: int,
    width: int,
    options: dict[str, str],
    **stream: Any,
) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options)
        video.height, video.width, video.pix_fmt = (
            height,
            width,
            stream.pop("pix_fmt", "yuv420p"),
        )
        for name, value in stream.items():
            setattr(video.codec_context, name, value)
        for pixels in noise_frames(20, height // 8 * 8 + 8, width // 6 * 6 + 6)[
            :, :height, :width
        ]:
            container.mux(
                video.encode(
                    av.VideoFrame.from_ndarray(
                        np.ascontiguousarray(pixels), format="rgb24"
                    )
                )
            )
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_equals_what_decoding_finds(
    tmp_path: Path, options: dict[str, str], pix_fmt: str, suffix: str
):
    if "profile" in options and pix_fmt != "yuv420p":
        pytest.skip("baseline has no other chroma")
    ratio = Fraction(77, 50)
    path = write(
        tmp_path / f"a{suffix}",
        "libx264",
        68,
        90,
        options,
        pix_fmt=pix_fmt,
        sample_aspect_ratio=ratio,
    )
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        found = parameter_set(bytes(context.extradata or b""))
        frame = next(container.decode(video=0))
        assert found is not None
        assert (found.height, found.width, Fraction(*found.pixel_ratio)) == (
            frame.height,
            frame.width,
            ratio,
        )
        assert found.reorder is not None
        assert bool(found.reorder) == bool(context.has_b_frames)


@pytest.mark.parametrize(
    "extradata",
    [b"", b"\0\0\0\1\x67\x42\0\x1e", b"\1\x64\0\x1e\xff\xe1\0\4\x67\x64\0\x1e\1\0"],
)
def test_another_form_or_a_broken_one_says_nothing(extradata: bytes):
    assert parameter_set(extradata) is None


@pytest.mark.parametrize(
    ("name", "codec", "options", "decoded"),
    [
        ("a.mp4", "libx264", {}, False),
        ("a.mkv", "libx264", {}, False),
        ("a.webm", "libvpx-vp9", {}, False),
        ("b.webm", "libvpx", {}, False),
        ("a.avi", "mpeg4", {}, True),
        ("a.ts", "libx264", {}, True),
        ("b.mp4", "mpeg4", {}, True),
    ],
)
def test_nothing_is_decoded_to_open_a_file_whose_header_tells_all(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], decoded: bool
):
    path = write(tmp_path / name, codec, 64, 96, options)
    with opened(Source(path)) as container, av.open(str(path)) as probed:
        stream, expected = container.streams.video[0], probed.streams.video[0]
        assert (
            stream.codec_context.pix_fmt is not None
        ) == decoded  # known once a picture is decoded
        assert stream.average_rate == expected.average_rate
        assert (stream.height, stream.width) == (expected.height, expected.width)
        assert (stream.sample_aspect_ratio or 1) == (
            expected.sample_aspect_ratio or 1
        )
        packets, others = ([(p.pts, p.pos, p.is_keyframe, p.is_discard) for p in c.demux(video=0) if p.size]
                           for c in (container, probed))  # fmt: skip
        assert packets == others


def test_a_pixel_ratio_that_only_the_stream_states_is_seen(tmp_path: Path):
    path = write(
        tmp_path / "a.mp4",
        "libx264",
        64,
        96,
        {},
        sample_aspect_ratio=Fraction(4, 3),
    )
    data = path.read_bytes()
    assert data.count(b"pasp") == 1
    path.write_bytes(data.replace(b"pasp", b"free"))  # a box that readers pass over
    with open_video(path) as video:
        assert (video.height, video.width) == (64, 128)
