"""Compute the symmetric contrastive loss of sentences and videos, over the batches of all ranks, a block at a time."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_petl.distributed.collectives import own_rank
from lightning_petl.distributed.gather_rows import gather_rows
from lightning_petl.heads.similarity import Encoded, Similarity
from lightning_petl.shapes import Words

MAX_LOGIT_SCALE = math.log(100)
"""Largest ``logit_scale`` of CLIP (Radford et al., 2021, section 2.3): ``exp(logit_scale)`` is at most 100."""


class _BlockSums(NamedTuple):
    """Hold what the loss needs of one block of logits.

    Attributes:
        rows: ``log sum exp`` of each row.
        columns: ``log sum exp`` of each column.
        positive: the logit of each row's own video, 0 where it is in another block.
    """

    rows: Float[Tensor, " q"]
    columns: Float[Tensor, " b"]
    positive: Float[Tensor, " q"]


def contrastive_loss(
    similarity: Similarity,
    video: Float[Tensor, "b t e"],
    words: Words,
    *,
    number: Int64[Tensor, " b"],
    logit_scale: Float[Tensor, ""],
    block: int | None = None,
) -> Float[Tensor, ""]:
    """Return ``1/2 [CE_rows(z) + CE_columns(z)]``, ``z = tau similarity``, ``tau = exp(min(logit_scale, log 100))``.

    Sentence i belongs to video i. Pairs of different rows with the same ``number`` are captions of one video: neither
    positive nor negative, they are left out of both denominators. Without any, this is the published loss.

    Over several ranks z is that of the joint batch. Rank r of W has the rows of its own sentences, to the
    videos of all: only videos, and the ``log sum exp`` of each rank's part of each column, are gathered. It returns
    ``L_r``, the mean over its own rows and its own columns, so that the joint loss is ``L = mean_r L_r``. The backward
    pass of a gather sums over ranks, hence each rank gets the gradient of ``sum_r L_r = W L`` by what it owns,
    and the mean over ranks that DDP and FSDP take of a parameter's gradients is that of L.

    ``block`` bounds the memory: logits are computed for so many sentences and videos at a time, and again in the
    backward pass; neither the whole matrix nor what a similarity makes of it is ever kept.

    Args:
        similarity: sentences to videos, without temperature.
        video: frames in the shared space; as many on every rank.
        words: one sentence for each video.
        number: which video of the data set it is.
        logit_scale: logarithm of the temperature. Its gradient is 0 above log 100: clamp the parameter itself behind
            each step, or nothing will ever pull it back.
        block: sentences and videos at a time; None: all, kept.

    Raises:
        ValueError: not one sentence for each video, or a block below 1.
    """
    _check(video, words, number, block)
    tau = logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
    texts = similarity.encode_texts(words)
    videos = similarity.encode_videos(gather_rows(video))
    numbers = gather_rows(number)
    place = torch.arange(len(numbers), device=video.device)
    own = place[: len(number)] + own_rank() * len(number)

    def sums(rows: slice, columns: slice) -> _BlockSums:
        z = tau * similarity.compare(_cut(texts, rows), _cut(videos, columns))
        positive = own[rows, None] == place[columns]
        return _sums(z, positive, number[rows, None] == numbers[columns])

    lines = _lines(sums, len(number), len(numbers), block)
    row = torch.cat([_stack(line, "rows").logsumexp(0) for line in lines])
    by_column = zip(*lines, strict=True)
    column = torch.cat([_stack(line, "columns").logsumexp(0) for line in by_column])
    positive = torch.cat([_stack(line, "positive").sum(0) for line in lines])
    column = gather_rows(column[None]).logsumexp(0)[own]
    return ((row + column) / 2 - positive).mean()


def _lines(
    sums: Callable[[slice, slice], _BlockSums],
    sentences: int,
    videos: int,
    block: int | None,
) -> list[list[_BlockSums]]:
    """Return the sums of all blocks, a list for each range of sentences::

                videos 0:2    videos 2:4
    sentence 0:2    x             x         -> lines[0]
    sentence 2:3    x             x         -> lines[1]
    """
    size = block or videos
    lines: list[list[_BlockSums]] = []
    for rows in _slices(sentences, size):
        line: list[_BlockSums] = []
        for columns in _slices(videos, size):
            # without blocks there is one, whose logits fit in memory as they are
            once = block is None
            found = sums(rows, columns) if once else _again(sums, rows, columns)
            line.append(found)
        lines.append(line)
    return lines


def _again(
    sums: Callable[[slice, slice], _BlockSums], rows: slice, columns: slice
) -> _BlockSums:
    """Compute the sums of a block, and compute them again in the backward pass."""
    # nothing in a similarity draws random numbers, whose state would cost time to keep
    found = checkpoint(
        sums, rows, columns, use_reentrant=False, preserve_rng_state=False
    )
    return cast(_BlockSums, found)


def _sums(
    z: Float[Tensor, "q b"],
    positive: Bool[Tensor, "q b"],
    same: Bool[Tensor, "q b"],
) -> _BlockSums:
    # a finite number: the gradient of log sum exp is undefined where all are -inf
    least = torch.finfo(z.dtype).min / 2
    negative = z.masked_fill(same & ~positive, least)
    rows = negative.logsumexp(1)
    columns = negative.logsumexp(0)
    return _BlockSums(rows, columns, (z * positive).sum(1))


def _stack(blocks: Sequence[_BlockSums], part: str) -> Tensor:
    return torch.stack([getattr(block, part) for block in blocks])


def _slices(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


def _cut(encoded: Encoded, rows: slice) -> Encoded:
    return tuple(part[rows] for part in encoded)


def _check(video: Tensor, words: Words, number: Tensor, block: int | None) -> None:
    if not len(video) == len(words.mask) == len(number):
        raise ValueError(
            f"training needs one sentence and one number for each video: {len(video)} videos, {len(words.mask)} "
            f"sentences, {len(number)} numbers"
        )
    if block is not None and block < 1:
        raise ValueError(f"block {block} must be above zero")
