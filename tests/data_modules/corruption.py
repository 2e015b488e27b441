"""Small videos, and what can happen to their bytes."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch

from data_modules.storage.prober import probe
from data_modules.video.decode import open_video
from data_modules.video.encode import write_video

NUM_FRAMES = 24
# file name -> encoder; the index of frames lies behind them, between them or, in a file made for the web, before them
ORIGINALS = {
    "h264.mp4": "libx264",
    "vp9.webm": "libvpx-vp9",
    "mpeg4.avi": "mpeg4",
    "h265.mkv": "libx265",
    "web.mp4": "libx264",
}
Corrupt = Callable[[bytes, np.random.Generator], bytes]


def write_originals(folder: Path) -> list[Path]:
    """One file a codec: smooth motion under noise, so that every packet has something to lose."""
    rows, columns = np.mgrid[0:96, 0:128]
    noise = np.random.default_rng(0).integers(0, 60, (NUM_FRAMES, 96, 128, 3))
    moving = [
        128 + 90 * np.sin((rows + 2 * columns + 5 * time) / 9)[..., None]
        for time in range(NUM_FRAMES)
    ]
    frames = np.clip(np.stack(moving) + noise, 0, 255).astype(np.uint8)
    for name, encoder in ORIGINALS.items():
        write_video(folder / name, frames, 25, codec=encoder, gop=8)
    index_first(folder / "web.mp4")
    return [folder / name for name in ORIGINALS]


def index_first(path: Path) -> None:
    """Repack an MP4 file as those are that begin to play before they are there."""
    plain = path.rename(path.with_stem("plain"))
    with (
        av.open(str(plain)) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    plain.unlink()


def truncated(data: bytes, generator: np.random.Generator) -> bytes:
    return data[: generator.integers(1, len(data))]


def flipped(data: bytes, generator: np.random.Generator) -> bytes:
    """1 to 200 bits."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[generator.integers(len(bits), size=generator.integers(1, 201))] ^= 1
    return np.packbits(bits).tobytes()


def holed(data: bytes, generator: np.random.Generator) -> bytes:
    """Up to a quarter is zero, as a download that was never finished leaves it."""
    start, size = (
        generator.integers(len(data)),
        generator.integers(16, len(data) // 4),
    )
    return data[:start] + bytes(min(size, len(data) - start)) + data[start + size :]


def headless(data: bytes, generator: np.random.Generator) -> bytes:
    """The first bytes, which tell the container, are zero."""
    return bytes(64) + data[64:]


def shuffled(data: bytes, generator: np.random.Generator) -> bytes:
    """Blocks of a disk in the wrong order."""
    blocks = [data[start : start + 512] for start in range(0, len(data), 512)]
    return b"".join(blocks[number] for number in generator.permutation(len(blocks)))


def streamless(data: bytes, generator: np.random.Generator) -> bytes:
    """The header and nothing else: tracks without a frame."""
    places = [
        data.find(mark) for mark in (b"mdat", b"movi", b"\x1f\x43\xb6\x75")
    ]  # mp4, AVI, Matroska's clusters
    return data[: max(places) + 4]


def emptied(data: bytes, generator: np.random.Generator) -> bytes:
    return b""


def garbage(data: bytes, generator: np.random.Generator) -> bytes:
    return generator.bytes(len(data))


def a_web_page(data: bytes, generator: np.random.Generator) -> bytes:
    """What is often saved under the name of a video that was taken down."""
    return b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>" * 40


def untouched(data: bytes, generator: np.random.Generator) -> bytes:
    """Only its name is wrong."""
    return data


KINDS: dict[str, Corrupt] = {
    kind.__name__: kind
    for kind in (
        truncated, flipped, holed, headless, shuffled, streamless, emptied, garbage, a_web_page, untouched
    )
}  # fmt: skip


def verdict(damaged_and_original: tuple[Path, Path]) -> str:
    """What became of a file, told by a probe process.

    Raises:
        ValueError: the damage was found; this is what a user is told.

    Returns:
        ``harmless``, every frame of the original is there, bit for bit, at its time; ``fewer``, some of them;
        ``altered``, other pictures, decoded without an error. No decoder can tell the last two from a video that was
        made so.
    """
    damaged, original = damaged_and_original
    info = probe(damaged)
    with open_video(damaged) as video, open_video(original) as whole:
        found, expected = (
            video.frames(range(info.num_frames)),
            whole.frames(range(whole.num_frames)),
        )
    assert len(found.pixels) == info.num_frames
    places = np.abs(
        expected.seconds.numpy() - found.seconds.numpy()[:, None]
    ).argmin(1)
    if found.pixels.shape[1:] != expected.pixels.shape[1:] or not torch.equal(
        found.pixels, expected.pixels[places]
    ):
        return "altered"
    return (
        "harmless"
        if np.array_equal(places, np.arange(len(expected.pixels)))
        else "fewer"
    )
