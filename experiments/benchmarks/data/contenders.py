"""Who reads the clips: this package, and what else could be used. All decode with one thread, except the naive reader.

Every reader gives the frames at some indices of one file as RGB "t 3 224 224", short side 256, centre crop; our YUV
sink gives the same part of the frames as the codec's own planes, not resized.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int64, UInt8
from torch import Tensor

from data_modules.loading.dataset import VideoDataset
from data_modules.loading.views import EvalViews, Views
from data_modules.sample import Clip
from data_modules.sampling.schemes import Length, Sampling
from data_modules.transforms.crops import Box, CropRecipe, EvalCrop
from data_modules.video.color import to_rgb
from data_modules.video.decode import open_video

SIZE = 224
CROP = EvalCrop(crop_ratio=0.875)  # 224 of 256

Indices = Int64[np.ndarray, " t"]
Video = UInt8[Tensor, "t c h w"]
Read = Callable[[Path, Indices], Any]


def recipe(height: int, width: int) -> CropRecipe:
    """What is kept of upright frames of that size."""
    return CROP.draw(height, width, SIZE, np.random.default_rng(0))


def _cropped(video: Video) -> Video:
    following = recipe(*video.shape[-2:])
    return following(following.box.cut(video))


def _boxed(video: Video) -> Video:
    return box(*video.shape[-2:]).cut(video)


def _itself(video: Video) -> Video:
    return video


@dataclass(frozen=True)
class Contender:
    """One reader.

    Attributes:
        name: as in the tables.
        package: the distribution whose version counts.
        make: from the height and width of the frames to the reader; raises where it cannot run here.
        picture: from what the reader returns to RGB.
        truth: from upright RGB frames to what the reader should show of them.
    """

    name: str
    package: str
    make: Callable[[int, int], Read]
    picture: Callable[[Any], Video] = _itself
    truth: Callable[[Video], Video] = _cropped

    def missing(self) -> str | None:
        """Why it cannot run here, in one line; None where it can."""
        try:
            self.make(SIZE, SIZE)
        except (ImportError, OSError, RuntimeError) as error:
            return str(error).strip().splitlines()[0]
        return None

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name} {version(self.package)}"


def box(height: int, width: int) -> Box:
    """The part of the frames that the crop shows."""
    window, scale = recipe(height, width).window, min(height, width) / 256
    return Box(
        round(window.top * scale),
        round(window.left * scale),
        round(SIZE * scale),
        round(SIZE * scale),
    )


def _planes(height: int, width: int) -> Read:
    part = box(height, width)

    def read(path: Path, indices: Indices) -> Any:
        with open_video(path) as video:
            return video.planes(indices, part)

    return read


@dataclass(frozen=True)
class Given(Sampling):
    """Indices chosen before, as "views times frames"."""

    indices: Int64[np.ndarray, "v t"]

    def train(self, length: Length, generator: np.random.Generator) -> Indices:
        """The first view."""
        return self.indices[0]

    def test(self, length: Length, views: int) -> Int64[np.ndarray, "v t"]:
        """All views."""
        return self.indices


def our_views(
    path: Path, indices: Int64[np.ndarray, "v t"], spatial: int
) -> UInt8[Tensor, "v t c h w"]:
    """What the data module gives for one video in evaluation."""
    view = EvalViews(Given(indices), CROP, SIZE, Views(len(indices), spatial))
    return VideoDataset([Clip(path.name, path, 0)], view)[0].video


def _ours(height: int, width: int) -> Read:
    return lambda path, indices: our_views(path, indices[None], 1)[0]


def _decord(height: int, width: int) -> Read:
    import decord

    tall, wide, top, left = _resized(height, width)

    def read(path: Path, indices: Indices) -> Video:
        reader = decord.VideoReader(
            str(path), ctx=decord.cpu(0), num_threads=1, height=tall, width=wide
        )
        frames = torch.from_numpy(reader.get_batch(indices.tolist()).asnumpy())
        return rearrange(
            frames[:, top : top + SIZE, left : left + SIZE].contiguous(),
            "t h w c -> t c h w",
        )

    return read


def _torchcodec(height: int, width: int) -> Read:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import CenterCrop, Resize

    tall, wide, _, _ = _resized(height, width)
    resize = [] if (tall, wide) == (height, width) else [Resize((tall, wide))]
    transforms = [*resize, CenterCrop((SIZE, SIZE))]

    def read(path: Path, indices: Indices) -> Video:
        decoder = VideoDecoder(
            str(path),
            num_ffmpeg_threads=1,
            seek_mode="exact",
            transforms=transforms,
        )
        return decoder.get_frames_at(indices.tolist()).data

    return read


def _opencv(height: int, width: int) -> Read:
    import cv2

    cv2.setNumThreads(1)
    tall, wide, top, left = _resized(height, width)

    def frame(capture: Any) -> UInt8[np.ndarray, "h w c"]:
        rgb = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        rgb = (
            rgb if (tall, wide) == rgb.shape[:2] else cv2.resize(rgb, (wide, tall))
        )
        return rgb[top : top + SIZE, left : left + SIZE]

    def read(path: Path, indices: Indices) -> Video:
        wanted = frozenset(indices.tolist())
        capture = cv2.VideoCapture(
            str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]
        )
        frames = {}
        for index in range(max(wanted) + 1):
            capture.grab()
            if index in wanted:
                frames[index] = frame(capture)
        capture.release()
        return rearrange(
            torch.from_numpy(np.stack([frames[int(i)] for i in indices])),
            "t h w c -> t c h w",
        )

    return read


def _naive(height: int, width: int) -> Read:
    def read(path: Path, indices: Indices) -> Video:
        with av.open(str(path)) as container:
            frames = [
                frame.to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        video = rearrange(
            torch.from_numpy(np.stack([frames[i] for i in indices])),
            "t h w c -> t c h w",
        )
        return _cropped(video)

    return read


def _resized(height: int, width: int) -> tuple[int, int, int, int]:
    """Height and width with the short side 256, both even, and where the centre crop begins."""
    scale = 256 / min(height, width)
    tall, wide = 2 * round(height * scale / 2), 2 * round(width * scale / 2)
    return tall, wide, (tall - SIZE) // 2, (wide - SIZE) // 2


YUV = Contender("ours, YUV planes", "lightning_petl", _planes, to_rgb, _boxed)
RGB = Contender("ours, RGB 224", "lightning_petl", _ours)
DECORD = Contender("decord", "decord", _decord)
TORCHCODEC = Contender("torchcodec", "torchcodec", _torchcodec)
OPENCV = Contender("OpenCV", "opencv-python-headless", _opencv)
NAIVE = Contender("PyAV, every frame to RGB", "av", _naive)
ALL = (YUV, RGB, DECORD, TORCHCODEC, OPENCV, NAIVE)
