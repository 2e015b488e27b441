import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data_modules.decode import decode, open_video, probe
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
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(("name", "options"), FILES)
def test_frames_equal_sequential_decoding_in_any_order(write: WriteVideo, name: str, options: dict):
    path = write(name, noise_frames(40, 64, 96), **options)
    expected = torch.from_numpy(sequential(path)).permute(0, 3, 1, 2)
    assert probe(path).num_frames == len(expected) == 40
    for indices in ([0], [39], [5, 5, 17, 3, 39, 3], np.arange(40)):
        video = decode(path, indices)
        assert video.dtype == torch.uint8
        assert torch.equal(video, expected[torch.as_tensor(indices)])


@pytest.mark.parametrize(("name", "options"), FILES[:4])  # the others blur four levels of grey at their usual rate
def test_a_frame_is_what_was_written_at_its_rank(write: WriteVideo, name: str, options: dict):
    path = write(name, grey_frames(40, 64, 96), **options)
    means = decode(path, range(40)).float().mean((1, 2, 3))
    assert ((means - 20) / 4).round().tolist() == list(range(40))


def test_one_open_file_gives_frames_again_and_again(write: WriteVideo):
    path = write(frames=noise_frames(30))
    with open_video(path) as video:
        first = [video.frames([7]).pixels, video.frames([3, 29]).pixels, video.frames([7]).pixels]
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
    start = data.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), data.index(b"tkhd"))
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:start] + matrix + data[start + 36 :])


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, 1, -1, 0), lambda pixels: pixels[:, ::-1].swapaxes(1, 2)),  # (x, y) at (-y, x): first row on the right
        ((0, -1, 1, 0), lambda pixels: pixels[:, :, ::-1].swapaxes(1, 2)),  # at (y, -x): first row on the left
        ((-1, 0, 0, -1), lambda pixels: pixels[:, ::-1, ::-1]),
    ],
)
def test_frames_come_upright(write: WriteVideo, matrix: tuple[int, int, int, int], shown):
    path = write(frames=noise_frames(3))
    stored = sequential(path)
    display_matrix(path, *matrix)
    expected = shown(stored)
    assert np.array_equal(decode(path, range(3)).permute(0, 2, 3, 1).numpy(), expected)
    assert probe(path)[3:5] == expected.shape[1:3]


def test_sound_and_foreign_titles_do_not_disturb(tmp_path: Path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        sound = container.add_stream("aac", rate=8000, layout="mono")
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 32, 48, "yuv420p"
        for picture in grey_frames(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        container.mux([*sound.encode(silence), *sound.encode(None), *video.encode(None)])
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"\xff\xfe\xe9\xe8\xff"))
    assert probe(path).num_frames == 20
    assert ((decode(path, [19]).float().mean() - 20) / 4).round() == 19


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4: no such video file"):
        probe(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100, bytes(5000)])
def test_garbage(tmp_path: Path, content: bytes):
    path = tmp_path / "garbage.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"garbage\.mp4: cannot be read as a video: "):
        decode(path, [0])


def test_sound_only(tmp_path: Path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
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
    with pytest.raises(ValueError, match=r"cut\.mkv: (frame 59 was asked for.*frames decode|cannot be read)"):
        decode(path, [59])


def test_header_without_frames(write: WriteVideo):
    path = write("empty.mkv", grey_frames(30))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # up to the first cluster
    with pytest.raises(ValueError, match=r"empty\.mkv: (holds no frame that decodes|cannot be read)"):
        probe(path)
    with pytest.raises(ValueError, match=r"empty\.mkv: (frame 0 was asked for.* 0 frames decode|cannot be read)"):
        decode(path, [0])


@pytest.mark.parametrize("indices", [[], [-1], [0, -3]])
def test_indices_are_from_zero_on(write: WriteVideo, indices: list[int]):
    with pytest.raises(ValueError, match="frame indices are one or more numbers from 0 on"):
        decode(write(), indices)


def test_index_beyond_the_end(write: WriteVideo):
    with pytest.raises(ValueError, match=r"clip\.mp4: frame 30 was asked for, counted from 0; 30 frames decode"):
        decode(write(), [3, 30])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_files_are_closed_also_after_errors(write: WriteVideo):
    path = write()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        decode(path, [0])
        with pytest.raises(ValueError, match="was asked for"):
            decode(path, [99])
    assert len(os.listdir("/proc/self/fd")) == before
