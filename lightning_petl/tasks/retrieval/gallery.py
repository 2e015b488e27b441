"""Collect the videos of an evaluation and their captions, each once, from all ranks; rank videos for captions."""

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


class GalleryVideo(NamedTuple):
    """Hold one video and its captions, as the similarity needs them, in main memory.

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


class CaptionResult(NamedTuple):
    """Hold what a caption finds; the names are the keys of a line of ``retrieval.jsonl``.

    Attributes:
        query: the caption.
        video: name of the video that it is about.
        rank: expected rank of that video, from 1.
        best: the most similar of the videos that can be read, with their similarities, best first.
        fault: why its own video counts as never found, where it does.
        tied: how many other videos are as similar as its own.
    """

    query: str
    video: str
    rank: float
    best: list[tuple[str, float]]
    fault: str = ""
    tied: int = 0


class Gallery(NamedTuple):
    """Hold all videos in the order of their names, and as queries the captions of those that this rank has seen.

    Videos are few and captions many: what is needed of videos is on every rank, that of captions stays where it is::

        rank 0                               rank 1
        clip_ids  [a, b, c]                  clip_ids  [a, b, c]
        captions  [of a, of a, of c]         captions  [of b]
        owner     [0, 0, 2]                  owner     [1]

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
    def of(cls, seen: Sequence[GalleryVideo], device: torch.device) -> "Gallery":
        """Gather the videos of all ranks, which all must call it, and this rank's captions.

        Args:
            seen: videos of this rank; no video is on two of them.
            device: where captions and videos are compared.
        """
        # by name: on any number of ranks the same sums are made in the same order
        own = sorted(seen, key=attrgetter("clip_id"))
        found = sorted(_of_all_ranks(own), key=attrgetter("clip_id"))
        number = {video.clip_id: position for position, video in enumerate(found)}
        assert len(number) == len(found), "a video was seen twice"
        captions: list[str] = []
        texts: list[Encoded] = []
        owner: list[int] = []
        for video in own:
            captions.extend(video.captions)
            texts.extend(video.texts)
            owner += [number[video.clip_id]] * len(video.captions)
        return cls(
            list(number),
            torch.tensor([video.readable for video in found], device=device),
            _joined([video.video for video in found]),
            captions,
            tuple(zip(*texts, strict=True)),
            torch.tensor(owner, dtype=torch.int64, device=device),
            {video.clip_id: video.fault for video in found if video.fault},
        )

    def similarities(self, similarity: Similarity) -> SimilarityOfBlock:
        """Return the similarities of captions to videos; ``-inf`` for a video that could not be read."""
        block = similarity.blocks(self.texts, self.videos, device=self.owner.device)

        def of_readable(rows: range, columns: range) -> Float64[Tensor, "q b"]:
            unreadable = ~self.readable[columns.start : columns.stop]
            return block(rows, columns).masked_fill(unreadable, -torch.inf)

        return of_readable

    def results(
        self, similarity: SimilarityOfBlock, *, rows: int = 1024, best: int = 5
    ) -> list[CaptionResult]:
        """Return what the captions of all ranks find, gathered on rank 0; an empty list elsewhere.

        All ranks must call it.

        Args:
            similarity: of captions to videos.
            rows: captions that are compared at a time.
            best: how many videos are listed for a caption.
        """
        own: list[CaptionResult] = []
        for start in range(0, len(self.captions), rows):
            numbers = range(start, min(start + rows, len(self.captions)))
            own.extend(self._results(similarity, numbers, best))
        found: list[CaptionResult] = []
        for of_rank in gather_objects_on_first(own):
            found.extend(of_rank)
        return sorted(found, key=attrgetter("video"))

    def _results(
        self, similarity: SimilarityOfBlock, numbers: range, best: int
    ) -> Iterator[CaptionResult]:
        block = similarity(numbers, range(len(self.clip_ids)))
        owner = self.owner[numbers.start : numbers.stop]
        top = block.topk(min(best, len(self.clip_ids)))
        counts = _counts(block, owner)
        columns = (top.indices, top.values, counts.rank(), counts.wrong, owner)
        rows = zip(numbers, *(column.tolist() for column in columns), strict=True)
        for number, indices, values, rank, tied, video in rows:
            name = self.clip_ids[video]
            listed = self._readable_names(indices, values)
            fault = self.faults.get(name, "")
            yield CaptionResult(
                self.captions[number], name, rank, listed, fault, int(tied)
            )

    def _readable_names(
        self, indices: Sequence[int], values: Sequence[float]
    ) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = []
        for index, value in zip(indices, values, strict=True):
            if value > -torch.inf:
                found.append((self.clip_ids[index], value))
        return found


def _counts(
    block: Float64[Tensor, "q b"], owner: Int64[Tensor, " q"]
) -> RankCounts:
    own = block.gather(1, owner[:, None])
    margin = TIE * own.abs()
    better = (block > own + margin).sum(1).double()
    # itself is tied with itself
    tied = ((block - own).abs() <= margin).sum(1) - 1
    found = own[:, 0].isfinite()
    return RankCounts(
        torch.where(found, better, torch.inf),
        torch.where(found, tied, 0).double(),
        torch.ones_like(own[:, 0]),
        block.shape[1],
    )


def _of_all_ranks(own: Sequence[GalleryVideo]) -> list[GalleryVideo]:
    """Return the videos of all ranks without their captions, which are many. All ranks must call it."""
    sent = [video._replace(captions=(), texts=[]) for video in own]
    found: list[GalleryVideo] = []
    for of_rank in gather_objects(sent):
        found.extend(of_rank)
    return found


def _joined(videos: Sequence[Encoded]) -> Encoded:
    return tuple(torch.cat(parts) for parts in zip(*videos, strict=True))
