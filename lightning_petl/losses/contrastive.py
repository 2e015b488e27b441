"""The symmetric contrastive loss of sentences and videos, over the batches of all processes, a block at a time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_petl.distributed.collectives import own_rank, several_ranks
from lightning_petl.heads.similarity import Sides, Similarity
from lightning_petl.shapes import Words

MAX_LOGIT_SCALE = math.log(100)
"""Of CLIP (Radford et al., 2021, section 2.3): ``exp(logit_scale)`` is at most 100."""


class _Sums(NamedTuple):
    """Of one block of logits: ``log sum exp`` of its rows and of its columns, and the logits of its positives."""

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
    """``1/2 [CE_rows(z) + CE_columns(z)]``, ``z = tau similarity``, ``tau = exp(min(logit_scale, log 100))``.

    Sentence i belongs to video i. Pairs of different rows with the same ``number`` are captions of one video: neither
    positive nor negative, they are left out of both denominators. Without any, this is the published loss.

    Over several processes z is that of the joint batch. Process r of W has the rows of its own sentences, to the
    videos of all: only videos, and the ``log sum exp`` of each process' part of each column, are gathered. It returns
    ``L_r``, the mean over its own rows and its own columns, so that the joint loss is ``L = mean_r L_r``. The backward
    pass of a gather sums over processes, hence each process gets the gradient of ``sum_r L_r = W L`` by what it owns,
    and the mean over processes that DDP and FSDP take of a parameter's gradients is that of L.

    ``block`` bounds the memory: logits are computed for so many sentences and videos at a time, and again in the
    backward pass; neither the whole matrix nor what a similarity makes of it is ever kept.

    Args:
        similarity: sentences to videos, without temperature.
        video: frames in the shared space; as many on every process.
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
    texts, videos = similarity.texts(words), similarity.videos(gathered(video))
    numbers, own = (
        gathered(number),
        torch.arange(len(number), device=video.device) + own_rank() * len(number),
    )
    size = block or len(numbers)

    def sums(rows: slice, columns: slice) -> _Sums:
        z = tau * similarity.compare(_cut(texts, rows), _cut(videos, columns))
        positive = (
            own[rows, None] == torch.arange(len(numbers), device=video.device)[columns]
        )
        return _sums(z, positive, number[rows, None] == numbers[columns])

    grid = [
        [_again(sums, r, c, block) for c in _slices(len(numbers), size)]
        for r in _slices(len(number), size)
    ]
    row = torch.cat([torch.stack([s.rows for s in line]).logsumexp(0) for line in grid])
    column = torch.cat(
        [
            torch.stack([s.columns for s in line]).logsumexp(0)
            for line in zip(*grid, strict=True)
        ]
    )
    positive = torch.cat(
        [torch.stack([s.positive for s in line]).sum(0) for line in grid]
    )
    column = gathered(column[None]).logsumexp(0)[own]
    return ((row + column) / 2 - positive).mean()


def _sums(
    z: Float[Tensor, "q b"], positive: Bool[Tensor, "q b"], same: Bool[Tensor, "q b"]
) -> _Sums:
    # a finite number: the gradient of log sum exp is undefined where all are -inf
    negative = z.masked_fill(same & ~positive, torch.finfo(z.dtype).min / 2)
    return _Sums(negative.logsumexp(1), negative.logsumexp(0), (z * positive).sum(1))


def _again(
    sums: Callable[[slice, slice], _Sums],
    rows: slice,
    columns: slice,
    block: int | None,
) -> _Sums:
    if block is None:
        return sums(rows, columns)
    return cast(
        _Sums,
        checkpoint(sums, rows, columns, use_reentrant=False, preserve_rng_state=False),
    )


def _slices(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


def _cut(sides: Sides, rows: slice) -> Sides:
    return tuple(side[rows] for side in sides)


def _check(video: Tensor, words: Words, number: Tensor, block: int | None) -> None:
    if not len(video) == len(words.mask) == len(number):
        raise ValueError(
            f"training needs one sentence and one number for each video: {len(video)} videos, {len(words.mask)} "
            f"sentences, {len(number)} numbers"
        )
    if block is not None and block < 1:
        raise ValueError(f"block {block} must be above zero")


def gathered(x: Tensor) -> Tensor:
    """Rows of all processes in order of their rank; the backward pass sums the gradients of all processes.

    Every process must bring a tensor of the same shape. With one process, x itself.
    """
    return cast(Tensor, _Gather.apply(x)) if several_ranks() else x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.rows = len(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[own_rank() * ctx.rows :][: ctx.rows]
