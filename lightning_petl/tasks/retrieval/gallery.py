"""The videos of an evaluation and what is said of them, each once, from all ranks."""

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from lightning_petl.distributed.collectives import (
    gather_objects,
    gather_objects_on_first,
)
from lightning_petl.heads.similarity import (
    Encoded,
    RaggedEncoded,
    Similarity,
    SimilarityOfBlock,
)
from lightning_petl.metrics.retrieval import TIE, RankCounts


class Entry(NamedTuple):
    """One video and its captions, as the similarity needs them, in main memory.

    Attributes:
        clip_id: the annotation's name of the video.
        readable: its file could be read; else ``video`` means nothing.
        video: what is needed of the video alone, with a first axis of length one.
        captions: what is said of it.
        texts: what is needed of each caption, from :meth:`~lightning_petl.heads.similarity.Similarity.take_text`.
        fault: why the video counts as never found, where it does.
    """

    clip_id: str
    readable: bool
    video: Encoded
    captions: tuple[str, ...]
    texts: list[Encoded]
    fault: str = ""


class Answer(NamedTuple):
    """What a caption finds: the expected rank of its video from 1, and the most similar of those that can be read.

    ``fault`` says why its own video counts as never found, where it does.
    """

    query: str
    video: str
    rank: float
    best: list[tuple[str, float]]
    fault: str = ""


class Gallery(NamedTuple):
    """All videos in the order of their names, and as queries the captions of those that this rank has seen.

    Videos are few and captions many: what is needed of videos is on every rank, that of captions stays where it is.

    Attributes:
        clip_ids: of all videos.
        readable: which videos could be read.
        videos: of all videos.
        captions: of this rank's videos, one behind the other.
        texts: of these captions.
        owner: number of the video that each of them is about.
        faults: why a video counts as never found, by name.
    """

    clip_ids: list[str]
    readable: Bool[Tensor, " b"]
    videos: Encoded
    captions: list[str]
    texts: RaggedEncoded
    owner: Int64[Tensor, " q"]
    faults: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def of(cls, entries: Sequence[Entry], device: torch.device) -> "Gallery":
        """The videos of all ranks, which all must call it, and this rank's captions.

        Args:
            entries: of this rank; no video is on two of them.
            device: where captions and videos are compared.
        """
        entries = sorted(entries, key=attrgetter("clip_id"))
        found = sorted(
            _of_all_ranks([entry._replace(captions=(), texts=[]) for entry in entries]),
            key=attrgetter("clip_id"),
        )
        number = {entry.clip_id: position for position, entry in enumerate(found)}
        assert len(number) == len(found), "a video was seen twice"
        return cls(
            list(number),
            torch.tensor([entry.readable for entry in found], device=device),
            tuple(
                torch.cat(parts)
                for parts in zip(*(entry.video for entry in found), strict=True)
            ),
            [caption for entry in entries for caption in entry.captions],
            tuple(
                zip(*(sides for entry in entries for sides in entry.texts), strict=True)
            ),
            torch.tensor(
                [number[entry.clip_id] for entry in entries for _ in entry.captions],
                dtype=torch.int64,
                device=device,
            ),
            {entry.clip_id: entry.fault for entry in found if entry.fault},
        )

    def similarities(self, similarity: Similarity) -> SimilarityOfBlock:
        """Of captions to videos; ``-inf`` for a video that could not be read."""
        block = similarity.blocks(self.texts, self.videos, device=self.owner.device)

        def readable(rows: range, columns: range) -> Float64[Tensor, "q b"]:
            return block(rows, columns).masked_fill(
                ~self.readable[columns.start : columns.stop], -torch.inf
            )

        return readable

    def answers(
        self, similarity: SimilarityOfBlock, *, rows: int = 1024, best: int = 5
    ) -> list[Answer]:
        """What the captions of all ranks find, so many at a time: on the first rank; on others nothing.

        All ranks must call it.
        """
        found = list(self._answers(similarity, rows, best))
        return sorted(_on_first_rank(found), key=attrgetter("video"))

    def _answers(
        self, similarity: SimilarityOfBlock, rows: int, best: int
    ) -> Iterator[Answer]:
        for start in range(0, len(self.captions), rows):
            numbers = range(start, min(start + rows, len(self.captions)))
            block = similarity(numbers, range(len(self.clip_ids)))
            owner = self.owner[start : numbers.stop]
            top = block.topk(min(best, len(self.clip_ids)))
            found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            ranks, owners = _ranks(block, owner).tolist(), owner.tolist()
            for number, rank, video, (indices, values) in zip(
                numbers, ranks, owners, found, strict=True
            ):
                pairs = [
                    (self.clip_ids[i], s)
                    for i, s in zip(indices, values, strict=True)
                    if s > -torch.inf
                ]
                name = self.clip_ids[video]
                yield Answer(
                    self.captions[number], name, rank, pairs, self.faults.get(name, "")
                )


def _ranks(
    block: Float64[Tensor, "q b"], owner: Int64[Tensor, " q"]
) -> Float64[Tensor, " q"]:
    own = block.gather(1, owner[:, None])
    better, tied = block > own + TIE * own.abs(), (block - own).abs() <= TIE * own.abs()
    found = own[:, 0].isfinite()
    places = RankCounts(
        torch.where(found, better.sum(1).double(), torch.inf),
        torch.where(found, tied.sum(1) - 1, 0).double(),
        torch.ones_like(own[:, 0]),
        block.shape[1],
    )
    return places.rank()


def _of_all_ranks(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for rank in gather_objects(list(entries)) for entry in rank]


def _on_first_rank(answers: list[Answer]) -> list[Answer]:
    return [answer for rank in gather_objects_on_first(answers) for answer in rank]
