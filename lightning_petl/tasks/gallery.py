"""The videos of an evaluation and what is said of them, each once, from all ranks."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from lightning_petl.parallel import several_ranks
from lightning_petl.ranking import TIE, Places
from lightning_petl.similarity import Block, Sides, Similarity


class Entry(NamedTuple):
    """One video and its captions, as the similarity needs them, in main memory.

    Attributes:
        clip_id: the annotation's name of the video.
        readable: its file could be read; else ``video`` means nothing.
        video: what is needed of the video alone, with a first axis of length one.
        captions: what is said of it.
        texts: what is needed of each caption alone.
    """

    clip_id: str
    readable: bool
    video: Sides
    captions: tuple[str, ...]
    texts: Sides


class Answer(NamedTuple):
    """What a caption finds: the expected rank of its video from 1, and the most similar of those that can be read."""

    query: str
    video: str
    rank: float
    best: list[tuple[str, float]]


class Gallery(NamedTuple):
    """Entries in the order of their names, with all their captions as queries.

    Attributes:
        clip_ids: of the videos.
        readable: which videos could be read.
        videos: of all videos.
        captions: of all videos, one behind the other.
        texts: of all captions.
        owner: number of the video that each caption is about.
    """

    clip_ids: list[str]
    readable: Bool[Tensor, " b"]
    videos: Sides
    captions: list[str]
    texts: Sides
    owner: Int64[Tensor, " q"]

    @classmethod
    def of(cls, entries: Sequence[Entry], device: torch.device) -> "Gallery":
        """The entries of all ranks, which all must call it; the same on each, whatever their number.

        Args:
            entries: of this rank.
            device: where captions and videos are compared.
        """
        found = sorted(_of_all_ranks(entries), key=lambda entry: entry.clip_id)
        counts = torch.tensor([len(entry.captions) for entry in found], device=device)
        return cls(
            [entry.clip_id for entry in found],
            torch.tensor([entry.readable for entry in found], device=device),
            _joined([entry.video for entry in found]),
            [caption for entry in found for caption in entry.captions],
            _joined([entry.texts for entry in found]),
            torch.arange(len(found), device=device).repeat_interleave(counts),
        )

    def similarities(self, similarity: Similarity) -> Block:
        """Of captions to videos; ``-inf`` for a video that could not be read."""
        block = similarity.between(self.texts, self.videos, device=self.owner.device)

        def readable(rows: range, columns: range) -> Float64[Tensor, "q b"]:
            return block(rows, columns).masked_fill(~self.readable[columns.start : columns.stop], -torch.inf)

        return readable

    def answers(self, similarity: Block, *, rows: int = 1024, best: int = 5) -> Iterator[Answer]:
        """What each caption finds, so many captions at a time."""
        for start in range(0, len(self.captions), rows):
            numbers = range(start, min(start + rows, len(self.captions)))
            block = similarity(numbers, range(len(self.clip_ids)))
            owner = self.owner[start : numbers.stop]
            top = block.topk(min(best, len(self.clip_ids)))
            found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            ranks, owners = _ranks(block, owner).tolist(), owner.tolist()
            for number, rank, video, (indices, values) in zip(numbers, ranks, owners, found, strict=True):
                pairs = [(self.clip_ids[i], s) for i, s in zip(indices, values, strict=True) if s > -torch.inf]
                yield Answer(self.captions[number], self.clip_ids[video], rank, pairs)


def _ranks(block: Float64[Tensor, "q b"], owner: Int64[Tensor, " q"]) -> Float64[Tensor, " q"]:
    own = block.gather(1, owner[:, None])
    better, tied = block > own + TIE * own.abs(), (block - own).abs() <= TIE * own.abs()
    found = own[:, 0].isfinite()
    places = Places(
        torch.where(found, better.sum(1).double(), torch.inf),
        torch.where(found, tied.sum(1) - 1, 0).double(),
        torch.ones_like(own[:, 0]),
        block.shape[1],
    )
    return places.rank()


def _joined(sides: Sequence[Sides]) -> Sides:
    return tuple(torch.cat(parts) for parts in zip(*sides, strict=True))


def _of_all_ranks(entries: Sequence[Entry]) -> list[Entry]:
    if not several_ranks():
        return list(entries)
    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, list(entries))
    return [entry for rank in ranks for entry in rank]
