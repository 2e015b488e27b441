"""Samples to a batch, in a worker or on the training device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from data_modules.batch import Features, Partners, VideoBatch
from data_modules.sample import Sample, Unrendered
from data_modules.transforms.mixing import Mixing
from data_modules.video.color import to_rgb


class PlaneBatch(NamedTuple):
    """Decoded planes of a batch, on their way to the training device as one tensor.

    Attributes:
        data: all planes, one after the other.
        samples: what to make of them; their own planes are empty.
        shapes: number and bytes of the pictures of each sample.
    """

    data: UInt8[Tensor, " n"]
    samples: list[Sample]
    shapes: list[tuple[int, int]]

    def to(self, *args: Any, **kwargs: Any) -> "PlaneBatch":
        """The pixels move, the plain numbers stay."""
        return self._replace(data=self.data.to(*args, **kwargs))


@dataclass(frozen=True)
class Collate:
    """Stack samples of one shape, or pack those that are not rendered yet.

    Args:
        mixing: blends neighbours of a batch, if any.
        seed: with the epoch and the names of the clips the key of what is drawn for mixing.
    """

    mixing: Mixing | None = None
    seed: int = 0

    def __call__(self, samples: Sequence[Sample]) -> VideoBatch | PlaneBatch:
        """In a worker."""
        unrendered = [
            sample.video for sample in samples if isinstance(sample.video, Unrendered)
        ]
        if not unrendered:
            return self._batch(
                [cast(Tensor | Features, sample.video) for sample in samples], samples
            )
        data = [video.planes.data for video in unrendered]
        nothing = torch.empty(
            0, 0, dtype=torch.uint8
        )  # a view would take its whole storage along
        emptied = [
            video._replace(planes=video.planes._replace(data=nothing))
            for video in unrendered
        ]
        rest = [
            sample._replace(video=video)
            for sample, video in zip(samples, emptied, strict=True)
        ]
        return PlaneBatch(
            torch.cat([d.flatten() for d in data]),
            rest,
            [(d.shape[0], d.shape[1]) for d in data],
        )

    def render(self, batch: PlaneBatch) -> VideoBatch:
        """What a worker would have made of them, on the device of the planes."""
        parts = batch.data.split([pictures * size for pictures, size in batch.shapes])
        videos = list[Tensor | Features]()
        for sample, part, shape in zip(batch.samples, parts, batch.shapes, strict=True):
            planes, look = cast(Unrendered, sample.video)
            videos.append(look(to_rgb(planes._replace(data=part.view(shape)))))
        return self._batch(videos, batch.samples, batch.data.device)

    def _batch(
        self,
        videos: Sequence[Tensor | Features],
        samples: Sequence[Sample],
        device: torch.device | None = None,
    ) -> VideoBatch:
        clips = len(samples[0].labels)
        video = _stacked(videos, clips)
        label = rearrange(
            torch.tensor([sample.labels for sample in samples], device=device),
            "b k -> (k b)",
        )
        names, faults = (
            [sample.clip_id for sample in samples],
            [sample.fault for sample in samples],
        )
        captions = (
            [sample.captions for sample in samples]
            if any(sample.captions for sample in samples)
            else []
        )
        padding = (
            [sample.padding for sample in samples]
            if any(sample.padding for sample in samples)
            else []
        )
        batch = VideoBatch(
            video,
            label,
            names * clips,
            faults * clips,
            captions=captions * clips,
            padding=padding,
        )
        if self.mixing is None or isinstance(video, Mapping):
            return batch
        keys = [f"{name}/{clip}" for clip in range(clips) for name in names]
        mixed = self.mixing(
            video[:, 0], label, keys, seed=self.seed, epoch=samples[0].epoch
        )
        return batch._replace(
            video=mixed.video[:, None], partners=Partners(mixed.partner, mixed.weight)
        )


def _stacked(
    videos: Sequence[Tensor | Features], clips: int
) -> Tensor | dict[str, Tensor]:
    """Views with labels of their own become clips: first all first ones, so that neighbours are other videos."""
    first = videos[0]
    if isinstance(first, Mapping):
        parts = cast(Sequence[Features], videos)
        return {
            name: cast(Tensor, _stacked([part[name] for part in parts], clips))
            for name in first
        }
    return rearrange(
        torch.stack(list(cast(Sequence[Tensor], videos))),
        "b (k v) ... -> (k b) v ...",
        k=clips,
    )
