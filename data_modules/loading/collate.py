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
    """Hold decoded planes of a batch on their way to the training device.

    One tensor holds them, because many small copies to a device are slow.

    Attributes:
        data: all planes, one after the other.
        samples: what to make of them; their own planes are empty.
        shapes: number and bytes of the pictures of each sample.
    """

    data: UInt8[Tensor, " n"]
    samples: list[Sample]
    shapes: list[tuple[int, int]]

    def to(self, *args: Any, **kwargs: Any) -> "PlaneBatch":
        """Return the batch with its planes moved; the plain numbers stay."""
        return self._replace(data=self.data.to(*args, **kwargs))


@dataclass(frozen=True)
class Collate:
    """Stack samples of one shape, or pack those that are not rendered yet.

    Args:
        mixing: blends neighbors of a batch, if any.
        seed: with the epoch and the names of the clips the key of what is drawn for
            mixing.
    """

    mixing: Mixing | None = None
    seed: int = 0

    def __call__(self, samples: Sequence[Sample]) -> VideoBatch | PlaneBatch:
        """Return the batch of some samples; it runs in a worker."""
        # a batch is of one kind: all samples come from one data set
        if isinstance(samples[0].video, Unrendered):
            return _packed(samples)
        videos = [cast(Tensor | Features, sample.video) for sample in samples]
        return self._batch(videos, samples)

    def render(self, batch: PlaneBatch) -> VideoBatch:
        """Return what a worker would have made, on the device of the planes."""
        sizes = [pictures * size for pictures, size in batch.shapes]
        parts = batch.data.split(sizes)
        videos = list[Tensor | Features]()
        for sample, part, shape in zip(
            batch.samples, parts, batch.shapes, strict=True
        ):
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
        labels = torch.tensor([sample.labels for sample in samples], device=device)
        names = [sample.clip_id for sample in samples]
        captions = [sample.captions for sample in samples]
        padding = [sample.padding for sample in samples]
        batch = VideoBatch(
            _stacked(videos, clips),
            rearrange(labels, "b k -> (k b)"),
            names * clips,
            [sample.fault for sample in samples] * clips,
            # empty where there are none, so that a data set without costs nothing
            captions=captions * clips if any(captions) else [],
            padding=padding if any(padding) else [],
        )
        if self.mixing is None:
            return batch
        return self._mixed(batch, self.mixing, names, samples[0].epoch)

    def _mixed(
        self, batch: VideoBatch, mixing: Mixing, names: Sequence[str], epoch: int
    ) -> VideoBatch:
        """Return the batch with its neighbors blended; kept features stay."""
        if isinstance(batch.video, Mapping):
            return batch
        # several clips of a video must not draw the same blend
        clips = len(batch.clip_id) // len(names)
        keys = list[str]()
        for clip in range(clips):
            keys += [f"{name}/{clip}" for name in names]
        mixed = mixing(
            batch.video[:, 0], batch.label, keys, seed=self.seed, epoch=epoch
        )
        partners = Partners(mixed.partner, mixed.weight)
        return batch._replace(video=mixed.video[:, None], partners=partners)


def _packed(samples: Sequence[Sample]) -> PlaneBatch:
    """Return the planes of samples as one tensor, and the samples without planes."""
    # each a tensor of its own: a view of the planes would take their storage along
    # when the worker sends it
    nothing = torch.empty(0, 0, dtype=torch.uint8)
    data = list[Tensor]()
    emptied = list[Sample]()
    shapes = list[tuple[int, int]]()
    for sample in samples:
        video = cast(Unrendered, sample.video)
        pictures = video.planes.data
        data.append(pictures.flatten())
        shapes.append((pictures.shape[0], pictures.shape[1]))
        planes = video.planes._replace(data=nothing)
        emptied.append(sample._replace(video=video._replace(planes=planes)))
    return PlaneBatch(torch.cat(data), emptied, shapes)


def _stacked(
    videos: Sequence[Tensor | Features], clips: int
) -> Tensor | dict[str, Tensor]:
    """Return one tensor of all samples, or of each part that a cache keeps.

    Views with labels of their own become clips: first the first clip of every sample,
    then the second, so that neighbors, which are mixed, are other videos. With the
    samples a and b, and two clips of each::

        a0 a1, b0 b1  ->  a0 b0 a1 b1
    """
    first = videos[0]
    if not isinstance(first, Mapping):
        views = torch.stack(list(cast(Sequence[Tensor], videos)))
        return rearrange(views, "b (k v) ... -> (k b) v ...", k=clips)
    samples = cast(Sequence[Features], videos)
    parts = dict[str, Tensor]()
    for name in first:
        stacked = _stacked([sample[name] for sample in samples], clips)
        parts[name] = cast(Tensor, stacked)
    return parts
