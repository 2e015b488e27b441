"""Clips on disk to samples, and samples to a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from data_modules.batch import VideoBatch
from data_modules.decode import Video, open_video
from data_modules.randomness import keyed_generator
from data_modules.sampling import Length, Sampling
from data_modules.transforms import EvalCrop, Transform


class Clip(NamedTuple):
    """One annotated video; ``label`` is -1 where it is not known."""

    clip_id: str
    path: Path
    label: int


class Sample(NamedTuple):
    """One video as the batch holds it."""

    video: UInt8[Tensor, "v t c h w"]
    label: int
    clip_id: str


class Views(NamedTuple):
    """How often evaluation looks at a video; written "temporal x spatial", as in "4x3"."""

    temporal: int
    spatial: int

    @classmethod
    def parse(cls, text: str) -> "Views":
        """From such as "1x3".

        Raises:
            ValueError: not two numbers, no temporal view, or other than 1 or 3 crops.
        """
        temporal, _, spatial = text.partition("x")
        if not temporal.isdecimal() or int(temporal) < 1 or spatial not in ("1", "3"):
            raise ValueError(f"views: expected temporal x spatial such as '1x1' or '4x3', 1 or 3 crops; got {text!r}")
        return cls(int(temporal), int(spatial))


@dataclass(frozen=True)
class TrainView:
    """One random clip of a video, as the only view."""

    sampling: Sampling
    transform: Transform
    size: int

    def __call__(self, video: Video, generator: np.random.Generator) -> UInt8[Tensor, "1 t c h w"]:
        """Frames, then space, both drawn from ``generator``."""
        frames = video.frames(self.sampling.train(Length(video.num_frames, video.fps), generator)).pixels
        recipe = self.transform.draw(frames.shape[-2], frames.shape[-1], self.size, generator)
        return recipe(recipe.box.cut(frames))[None]


@dataclass(frozen=True)
class EvalViews:
    """All views of evaluation; the video is decoded once."""

    sampling: Sampling
    crop: EvalCrop
    size: int
    views: Views

    def __call__(self, video: Video, generator: np.random.Generator) -> UInt8[Tensor, "v t c h w"]:
        """Temporal views outside, crops inside; nothing is drawn."""
        indices = self.sampling.test(Length(video.num_frames, video.fps), self.views.temporal)
        crops = self.crop.crops(video.frames(indices.ravel()).pixels, self.size, self.views.spatial)
        return rearrange(crops, "s (v t) c h w -> (v s) t c h w", v=self.views.temporal)


class VideoDataset(Dataset[Sample]):
    """Samples by (epoch, index). A plain index is epoch 0: evaluation has no epochs.

    Args:
        clips: what there is.
        view: from an open video to what is seen of it.
        seed: with the epoch and the clip's name the key of all that is drawn for a sample.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        view: Callable[[Video, np.random.Generator], UInt8[Tensor, "v t c h w"]],
        *,
        seed: int = 0,
    ) -> None:
        self._clips, self._view, self._seed = clips, view, seed

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._clips)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        """Decode one sample. Errors of :func:`data_modules.decode.open_video`."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        clip = self._clips[index]
        with open_video(clip.path) as video:
            seen = self._view(video, keyed_generator(self._seed, epoch, clip.clip_id))
        return Sample(seen, clip.label, clip.clip_id)


def collate(samples: Sequence[Sample]) -> VideoBatch:
    """Stack samples of one shape."""
    return VideoBatch(
        video=torch.stack([sample.video for sample in samples]),
        label=torch.tensor([sample.label for sample in samples]),
        clip_id=[sample.clip_id for sample in samples],
    )
