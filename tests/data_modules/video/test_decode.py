import os
import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data_modules.transforms.crops import Box
from data_modules.video.color import to_rgb
from data_modules.video.decode import decode, open_video, probe
from data_modules.video.source import Source
from data_modules.video.track import FileTrack
from tests.data_modules.oddities import ODDITIES, Oddity, write_odd
from tests.data_modules.videos import WriteVideo, grey_frames, noise_frames

FILES = [
    ("a.mp4", {"codec": "libx264"}),
    ("a.mkv", {"codec": "libx264", "gop": 250}),
    ("a.mov", {"codec": "libx265"}),  # corrupts memory below 64 pixels a side
    ("a.webm", {"codec": "libvpx-vp9"}),
    ("b.webm", {"codec": "libvpx"}),  # may hold hidden frames
    ("a.avi", {"codec": "mpeg4"}),
]


def sequential(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        )


@pytest.mark.parametrize(("name", "options"), FILES)
def test_frames_equal_sequential_decoding_in_any_order(
    write: WriteVideo, name: str, options: dict
):
    path = write(name, noise_frames(40, 64, 96), **options)
    expected = torch.from_numpy(sequential(path)).permute(0, 3, 1, 2)
    assert probe(path).num_frames == len(expected) == 40
    for indices in ([0], [39], [5, 5, 17, 3, 39, 3], np.arange(40)):
        video = decode(path, indices)
        assert video.dtype == torch.uint8
        assert torch.equal(video, expected[torch.as_tensor(indices)])


@pytest.mark.parametrize(
    ("name", "options"), FILES[:4]
)  # the others blur four levels of grey at their usual rate
def test_a_frame_is_what_was_written_at_its_rank(
    write: WriteVideo, name: str, options: dict
):
    path = write(name, grey_frames(40, 64, 96), **options)
    means = decode(path, range(40)).float().mean((1, 2, 3))
    assert ((means - 20) / 4).round().tolist() == list(range(40))


def test_one_open_file_gives_frames_again_and_again(write: WriteVideo):
    path = write(frames=noise_frames(30))
    with open_video(path) as video:
        first = [
            video.frames([7]).pixels,
            video.frames([3, 29]).pixels,
            video.frames([7]).pixels,
        ]
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[1], decode(path, [3, 29]))


def test_probe(write: WriteVideo):
    info = probe(write(frames=grey_frames(30, 32, 48), fps=30000 / 1001))
    assert info[0] == 30
    assert info[1:3] == pytest.approx((30000 / 1001, 30 * 1001 / 30000))
    assert info[3:5] == (32, 48)


def display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write the matrix of ISO 14496-12 into the track header: (x, y) is shown at (ax + cy, bx + dy)."""
    data = path.read_bytes()
    start = data.index(
        struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30),
        data.index(b"tkhd"),
    )
    matrix = struct.pack(
        ">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(data[:start] + matrix + data[start + 36 :])


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        (
            (0, 1, -1, 0),
            lambda pixels: pixels[:, ::-1].swapaxes(1, 2),
        ),  # (x, y) at (-y, x): first row on the right
        (
            (0, -1, 1, 0),
            lambda pixels: pixels[:, :, ::-1].swapaxes(1, 2),
        ),  # at (y, -x): first row on the left
        ((-1, 0, 0, -1), lambda pixels: pixels[:, ::-1, ::-1]),
    ],
)
def test_frames_come_upright(
    write: WriteVideo, matrix: tuple[int, int, int, int], shown
):
    path = write(frames=noise_frames(3))
    stored = sequential(path)
    display_matrix(path, *matrix)
    expected = shown(stored)
    assert np.array_equal(
        decode(path, range(3)).permute(0, 2, 3, 1).numpy(), expected
    )
    assert probe(path)[3:5] == expected.shape[1:3]


def test_sound_and_foreign_titles_do_not_disturb(tmp_path: Path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        sound = container.add_stream("aac", rate=8000, layout="mono")
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        for picture in grey_frames(20):
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
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"\xff\xfe\xe9\xe8\xff"))
    assert probe(path).num_frames == 20
    assert ((decode(path, [19]).float().mean() - 20) / 4).round() == 19


def test_missing_file(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere\.mp4: no such video file"
    ):
        probe(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100, bytes(5000)])
def test_garbage(tmp_path: Path, content: bytes):
    path = tmp_path / "garbage.mp4"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"garbage\.mp4: cannot be read as a video: "
    ):
        decode(path, [0])


def test_sound_only(tmp_path: Path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        silence.rate = 8000
        container.mux(stream.encode(silence))
    with pytest.raises(ValueError, match=r"sound\.wav: holds no video track"):
        probe(path)


def test_truncated_file_has_its_first_frames_only(write: WriteVideo):
    path = write("cut.mkv", noise_frames(60, 64, 96))
    whole = decode(path, [0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert torch.equal(decode(path, [0]), whole)
    assert 0 < probe(path).num_frames < 60
    with pytest.raises(
        ValueError,
        match=r"cut\.mkv: (frame 59 was asked for.*frames decode|cannot be read)",
    ):
        decode(path, [59])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("c.mkv", "libx264"), ("c.webm", "libvpx-vp9"), ("c.avi", "mpeg4")],
)
def test_a_check_tells_that_a_file_is_cut_short(
    write: WriteVideo, name: str, codec: str
):
    path = write(name, noise_frames(60, 64, 96), codec=codec)
    with open_video(path) as video:
        video.check()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with (
        pytest.raises(ValueError, match=rf"{name}: cut short: "),
        open_video(path) as video,
    ):
        video.check()


def test_header_without_frames(write: WriteVideo):
    path = write("empty.mkv", grey_frames(30))
    data = path.read_bytes()
    path.write_bytes(
        data[: data.index(b"\x1f\x43\xb6\x75")]
    )  # up to the first cluster
    with pytest.raises(
        ValueError,
        match=r"empty\.mkv: (holds no frame that decodes|cannot be read)",
    ):
        probe(path)
    with pytest.raises(
        ValueError,
        match=r"empty\.mkv: (frame 0 was asked for.* 0 frames decode|cannot be read)",
    ):
        decode(path, [0])


@pytest.mark.parametrize("indices", [[], [-1], [0, -3]])
def test_indices_are_from_zero_on(write: WriteVideo, indices: list[int]):
    with pytest.raises(
        ValueError, match="frame indices are one or more numbers from 0 on"
    ):
        decode(write(), indices)


def test_index_beyond_the_end(write: WriteVideo):
    with pytest.raises(
        ValueError,
        match=r"clip\.mp4: frame 30 was asked for, counted from 0; 30 frames decode",
    ):
        decode(write(), [3, 30])


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(),
    reason="counts open files as Linux shows them",
)
def test_files_are_closed_also_after_errors(write: WriteVideo):
    path = write()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        decode(path, [0])
        with pytest.raises(ValueError, match="was asked for"):
            decode(path, [99])
    assert len(os.listdir("/proc/self/fd")) == before


def test_frames_have_square_pixels(tmp_path: Path):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        for pixels in grey_frames(3, 48, 64):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
            )
        container.mux(stream.encode(None))
    with open_video(path) as video:
        assert (video.height, video.width) == (48, 96)
        assert video.frames([1]).pixels.shape == (1, 3, 48, 96)
        assert (
            (video.frames(range(3)).pixels.float().mean((1, 2, 3)) - 20) / 4
        ).round().tolist() == [0, 1, 2]
        assert to_rgb(video.planes([2])).shape == (1, 3, 48, 96)


@pytest.mark.parametrize(
    "matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1)]
)
def test_planes_come_upright(write: WriteVideo, matrix: tuple[int, int, int, int]):
    path = write(frames=noise_frames(3))
    display_matrix(path, *matrix)
    with open_video(path) as video:
        height, width = video.height, video.width
        frames, planes = video.frames([0, 2]).pixels, video.planes([0, 2])
    assert frames.shape == (2, 3, height, width)
    error = ((to_rgb(planes).float() - frames.float()) ** 2).mean()
    assert (
        10 * torch.log10(255**2 / error) > 30
    )  # the chroma of a turned picture is resampled


def test_a_box_is_cut_out_of_the_whole(write: WriteVideo):
    with open_video(write(frames=noise_frames(12, 64, 96))) as video:
        whole = video.frames([3, 11, 3])
        for box in (Box(0, 0, 64, 96), Box(3, 5, 17, 31), Box(63, 95, 1, 1)):
            part = video.frames([3, 11, 3], box)
            assert torch.equal(part.pixels, box.cut(whole.pixels))
            assert torch.equal(part.seconds, whole.seconds)
            assert torch.equal(
                to_rgb(video.planes([3, 11, 3], box)),
                box.cut(to_rgb(video.planes([3, 11, 3]))),
            )
        asked = video.frames(
            [3], lambda height, width: Box(1, 2, height - 1, width - 2)
        ).pixels
        assert torch.equal(asked, whole.pixels[:1, :, 1:, 2:])
        for box in (
            Box(0, 0, 65, 96),
            Box(0, 1, 64, 96),
            Box(-1, 0, 4, 4),
            Box(0, 0, 0, 4),
        ):
            with pytest.raises(
                ValueError,
                match=r"clip\.mp4: Box.* is not within its frames of 64 x 96 pixels",
            ):
                video.frames([0], box)


def test_a_part_of_a_file_is_a_video(write: WriteVideo, tmp_path: Path):
    whole = write(frames=noise_frames(20))
    data, archive = whole.read_bytes(), tmp_path / "archive.tar"
    archive.write_bytes(bytes(700) + data + bytes(900))
    source = Source(archive, 700, len(data))
    assert torch.equal(decode(source, range(20)), decode(whole, range(20)))
    assert probe(source) == probe(whole)
    with pytest.raises(
        ValueError,
        match=r"archive\.tar \(byte 1 to 500\): cannot be read as a video",
    ):
        probe(Source(archive, 1, 499))


def trimmed(path: Path, ticks: int) -> None:
    """Let the edit list of the file begin ``ticks`` later (ISO 14496-12, sec. 8.6.6)."""
    data = path.read_bytes()
    place = data.index(b"elst") + 4 + 4 + 4 + 4  # flags, count, duration
    (start,) = struct.unpack(">i", data[place : place + 4])
    path.write_bytes(
        data[:place] + struct.pack(">i", start + ticks) + data[place + 4 :]
    )


def test_an_edit_list_leaves_frames_out(write: WriteVideo):
    path = write(frames=grey_frames(40, 64, 96))
    with av.open(str(path)) as container:
        tick = container.streams.video[0].time_base
        trimmed(path, int(Fraction(5, 25) / tick))
    assert probe(path).num_frames == len(sequential(path)) == 35
    means = decode(path, [0, 7, 34]).float().mean((1, 2, 3))
    assert ((means - 20) / 4).round().tolist() == [5, 12, 39]


def holed(path: Path, packet: int) -> None:
    """Zero the inside of one packet."""
    with av.open(str(path)) as container:
        found = [p for p in container.demux(video=0) if p.size][packet]
        start, size = found.pos, found.size
    data = bytearray(path.read_bytes())
    data[start + size // 4 : start + size] = bytes(size - size // 4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["h264.mp4", "hevc.mp4", "av1.mp4", "mpeg4.avi", "mjpeg.avi"]
)
def test_a_damaged_frame_is_an_error_and_those_before_it_are_not(
    tmp_path: Path, name: str
):
    (odd,) = (odd for odd in ODDITIES if odd.name == name)
    path = write_odd(tmp_path, odd)
    whole = decode(path, range(10))
    holed(path, 19)
    reason = rf"{re.escape(name)}: (damaged at packet \d+ of 50: |frame \d+ of 50 does not|50 frames are stored, \d+ )"
    with open_video(path) as video:
        assert torch.equal(video.frames(range(10)).pixels, whole)
        with pytest.raises(ValueError, match=reason):
            video.frames(range(50))
        with pytest.raises(ValueError, match=reason):
            video.check()


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/task").exists(),
    reason="counts threads as Linux shows them",
)
def test_opening_clips_takes_neither_memory_nor_threads(write: WriteVideo):
    paths = [
        write("a.mp4"),
        write("b.webm", codec="libvpx-vp9"),
        write("c.avi", codec="mpeg4"),
    ]

    def clips(count: int) -> None:
        for i in range(count):
            with open_video(paths[i % 3]) as video:
                video.frames([3, 20]) if i % 2 else video.planes([3, 20])

    clips(60)
    memory, threads = resident(), len(os.listdir("/proc/self/task"))
    clips(1000)
    assert resident() - memory <= 10 << 20
    assert len(os.listdir("/proc/self/task")) == threads


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGESIZE"
    )


@pytest.mark.parametrize("container", ["mkv", "webm", "mp4"])
def test_the_rate_is_that_of_the_time_stamps(tmp_path: Path, container: str):
    """Thirty frames 33 ms apart, then thirty 200 ms apart: headers call this 30 or 25 frames a second."""
    codec = "libvpx-vp9" if container == "webm" else "libx264"
    odd = Oddity(
        f"two_rates.{container}",
        codec,
        count=60,
        ticks=lambda i: 33 * i if i < 30 else 957 + 200 * (i - 29),
    )
    info = probe(write_odd(tmp_path, odd))
    assert info.fps == pytest.approx(59 / (0.957 + 6), rel=0.02)
    assert info.duration == pytest.approx(60 / info.fps)


@pytest.mark.parametrize(
    ("fps", "name"),
    [(30000 / 1001, "ntsc.mkv"), (12, "a.webm"), (25, "a.avi"), (10, "a.mp4")],
)
def test_the_rate_of_the_header_holds_where_stamps_only_round_it(
    write: WriteVideo, fps: float, name: str
):
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264")
    assert probe(write(name, fps=fps, codec=codec)).fps == pytest.approx(
        fps, rel=1e-3
    )


def test_pictures_that_were_decoded_to_be_counted_are_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """B frames packed into one packet with the picture behind them: only decoding tells how many there are."""
    path = write_odd(tmp_path, Oddity("packed.avi", "mpeg4", {"bf": "2"}))
    decoded: list[int] = []
    plain = FileTrack._decode
    monkeypatch.setattr(
        FileTrack,
        "_decode",
        lambda track, packet, n: decoded.append(n) or plain(track, packet, n),
    )
    with open_video(path) as video:
        last = video.num_frames - 1
        once = len(decoded)
        pixels = video.frames([0, last]).pixels
        assert len(decoded) == once > 0
    monkeypatch.setattr("data_modules.video.track._KEPT_PIXELS", 0)
    with open_video(path) as video:
        assert torch.equal(video.frames([0, last]).pixels, pixels)
