"""Measure where the right answer stands among all others: recall, median and mean rank, exact over a whole set.

Ties are broken at random, and every number is the expectation: a model that answers the same to everything gets what
chance gets. With ``better`` wrong answers in front of the best right one, and ``wrong`` wrong ones among ``wrong +
right`` answers tied with it, the first right one stands on average at

    rank = 1 + better + wrong / (right + 1)                       # one right answer: ties count half

and is among the first k with probability

    recall_k = 1 - prod_{u < k - better} (wrong - u) / (wrong + right - u)

For example, of the right answer r, with wrong answers x::

    similarity   0.9   0.7   0.7   0.7   0.1
    answer        x     x     r     x     x     -> better 1, wrong 2, right 1
                                                   rank 1 + 1 + 2/2 = 3; recall_2 = 1 - 2/3

A right answer without any finite similarity, of a video that could not be read, counts as not found: it is last, and
among no first k. As an answer to other questions it stands behind all finite ones.
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from lightning_petl.distributed.collectives import (
    gather_objects,
    max_over_ranks,
    sum_over_ranks,
)
from lightning_petl.distributed.gather_rows import gather_rows
from lightning_petl.heads.similarity import SimilarityOfBlock

Owner = Int64[Tensor, " q"]
Similarities = Float64[Tensor, "q b"]
RECALLS = (1, 5, 10)
TIE = 1e-9
"""Similarities whose relative difference is below it are equal: far above rounding in float64, far below float32's."""


class RankCounts(NamedTuple):
    """Count, for each question, the answers that stand before and beside the best right one.

    Attributes:
        better: wrong answers before it; inf where no right one was found.
        wrong: wrong answers that are tied with it.
        right: right answers that are tied with it, itself among them.
        candidates: how many answers there are.
    """

    better: Float64[Tensor, " q"]
    wrong: Float64[Tensor, " q"]
    right: Float64[Tensor, " q"]
    candidates: int

    def rank(self) -> Float64[Tensor, " q"]:
        """Return the expected rank of the first right answer, from 1."""
        rank = 1 + self.better + self.wrong / (self.right + 1)
        return rank.clamp(max=self.candidates)

    def recall(self, k: int) -> Float64[Tensor, " q"]:
        """Return the probability that it is among the first k."""
        missed = torch.ones_like(self.better)
        for u in range(k):
            wrong = (self.wrong - u).clamp(min=0)
            # once all that are tied are drawn, wrong is 0 and so is the product
            tied = (self.wrong + self.right - u).clamp(min=1)
            missed = missed * torch.where(self.better + u < k, wrong / tied, 1.0)
        return 1 - missed

    def summary(self, name: str) -> dict[str, float]:
        """Return ``name/R1 R5 R10`` in percent, ``name/MdR`` and ``name/MnR``.

        They are the same to the last bit in any order of the questions.
        """
        found: dict[str, float] = {}
        for k in RECALLS:
            found[f"{name}/R{k}"] = 100 * _mean(self.recall(k))
        rank = self.rank()
        found[f"{name}/MdR"] = rank.quantile(0.5).item()
        found[f"{name}/MnR"] = _mean(rank)
        return found


class _Matrix(NamedTuple):
    """Hold a matrix of similarities that is never whole, and the video of each caption.

    Attributes:
        similarity: of a range of captions to a range of videos.
        owner: number of the video of each caption.
        num_videos: number of columns.
        block: largest number of rows and of columns at a time.
    """

    similarity: SimilarityOfBlock
    owner: Owner
    num_videos: int
    block: tuple[int, int]

    def row_ranges(self) -> list[range]:
        """Return the captions, so many at a time."""
        return _ranges(len(self.owner), self.block[0])

    def column_ranges(self) -> list[range]:
        """Return the videos, so many at a time."""
        return _ranges(self.num_videos, self.block[1])

    def at(self, rows: range, columns: range) -> Similarities:
        """Return a block of the matrix.

        Raises:
            ValueError: a similarity is NaN or +inf.
        """
        s = self.similarity(rows, columns).double()
        wrong = (s.isnan() | s.isposinf()).nonzero()
        if len(wrong) > 0:
            row, column = wrong[0].tolist()
            raise ValueError(
                f"the similarity of caption {rows[row]} and video {columns[column]} is {s[row, column].item()}, which "
                "has no rank: the model has diverged, or computes beyond the range of its numbers"
            )
        return s


def retrieval_metrics(
    similarity: SimilarityOfBlock,
    owner: Owner,
    num_videos: int,
    *,
    dual_softmax: float | None = None,
    block: tuple[int, int] = (1024, 1024),
) -> dict[str, float]:
    """Return recall at 1, 5 and 10 (percent), median and mean rank, in both directions, under the name of the protocol.

    ``t2v``: each caption is a question to all videos. ``v2t_any``: each video is a question to all captions; the best
    of its own counts, among those of all others. ``v2t_set``: each video is a question to the sets of captions of all
    videos, a set being as similar as its best caption (CLIP4Clip's protocol for MSVD; it gives higher numbers than
    ``v2t_any``). With one caption a video the two are the same. Videos without caption are candidates, not questions.

    The matrix is never whole: similarities are asked for block by block, twice where a block holds own pairs.

    Over several ranks each brings captions of its own, or none, and compares them with all videos. What is counted
    is then added up, and what is best is compared: whole numbers and maxima, so that all get the numbers that one
    rank gets, to the last bit. All must call it.

    Args:
        similarity: of a range of captions to a range of videos; ``-inf`` for a video that could not be read.
        owner: the video of each caption, 0 to ``num_videos - 1``, on the device of the similarities.
        num_videos: how many there are.
        dual_softmax: add the rows ``dual_softmax/...``: similarities times their softmax over all questions at this
            factor (Cheng et al., CAMoE, arXiv 2109.04290). It uses all questions at once and supposes that each video
            is asked for as often as any other: no number to compare with those of one question at a time.
        block: captions and videos at a time; no number depends on it.

    Raises:
        ValueError: a similarity is NaN or +inf, there is no caption, or an owner is no video.
    """
    _check(owner, num_videos)
    matrix = _Matrix(similarity, owner, num_videos, block)
    counts = _rank_counts(matrix)
    if dual_softmax is not None:
        counts |= _dual_rank_counts(matrix, dual_softmax)
    metrics: dict[str, float] = {}
    for protocol, found in counts.items():
        metrics |= found.summary(protocol)
    return metrics


def _rank_counts(matrix: _Matrix) -> dict[str, RankCounts]:
    owner = matrix.owner
    videos = matrix.num_videos
    own = _own_similarities(matrix)
    none = own.new_full((videos,), -torch.inf)
    best = max_over_ranks(none.scatter_reduce(0, owner, own, "amax"))
    number = torch.arange(videos, device=owner.device)
    t2v = own.new_zeros(2, len(owner))
    v2t_any = own.new_zeros(2, videos)
    v2t_set = own.new_zeros(2, videos)
    for columns in matrix.column_ranges():
        to = _slice(columns)
        sets = own.new_full((videos, len(columns)), -torch.inf)
        for rows in matrix.row_ranges():
            of = _slice(rows)
            s = matrix.at(rows, columns)
            wrong = owner[of, None] != number[to]
            t2v[:, of] += _count(s, own[of, None], wrong, 1)
            v2t_any[:, to] += _count(s, best[to], wrong, 0)
            sets.scatter_reduce_(0, owner[of, None].expand_as(s), s, "amax")
        # the captions of a video lie on one rank or more: a set is as good as its best
        sets = max_over_ranks(sets)
        wrong = number[:, None] != number[to]
        v2t_set[:, to] = _count(sets, best[to], wrong, 0)
    v2t_any = sum_over_ranks(v2t_any)
    captions = sum_over_ranks(owner.bincount(minlength=videos))
    is_best = _equal(own, best[owner]).double()
    right = sum_over_ranks(own.new_zeros(videos).scatter_add(0, owner, is_best))
    *t2v, own = _columns_of_all(torch.stack([*t2v, own]))
    asked = captions > 0
    one = torch.ones_like(best[asked])
    every_caption = int(captions.sum())
    return {
        "t2v": _counts(torch.stack(t2v), own, torch.ones_like(own), videos),
        "v2t_any": _counts(
            v2t_any[:, asked], best[asked], right[asked], every_caption
        ),
        "v2t_set": _counts(v2t_set[:, asked], best[asked], one, len(one)),
    }


def _own_similarities(matrix: _Matrix) -> Float64[Tensor, " q"]:
    """Return the similarity of each caption to its own video, out of the same blocks as all others.

    Out of other blocks it could differ in the last bit, and a caption would not be tied with itself.
    """
    owner = matrix.owner
    own = torch.empty(len(owner), dtype=torch.float64, device=owner.device)
    for rows in matrix.row_ranges():
        mine = owner[_slice(rows)]
        for columns in matrix.column_ranges():
            here = ((mine >= columns.start) & (mine < columns.stop)).nonzero()[:, 0]
            if len(here) > 0:
                s = matrix.at(rows, columns)
                own[rows.start + here] = s[here, mine[here] - columns.start]
    return own


def _dual_rank_counts(matrix: _Matrix, factor: float) -> dict[str, RankCounts]:
    captions, videos = _log_sums(matrix, factor)

    def weighted(
        rows: range, columns: range, *, over_captions: bool
    ) -> Similarities:
        s = matrix.at(rows, columns)
        of_caption = captions[_slice(rows), None]
        total = videos[_slice(columns)] if over_captions else of_caption
        # -inf, of a video that cannot be read, times a softmax of 0 would be NaN
        return torch.where(s.isfinite(), s * (factor * s - total).exp(), s)

    # a question of text is weighed over all captions, one of video over all videos
    t2v = matrix._replace(similarity=partial(weighted, over_captions=True))
    v2t = matrix._replace(similarity=partial(weighted, over_captions=False))
    counts = _rank_counts(v2t) | {"t2v": _rank_counts(t2v)["t2v"]}
    return {f"dual_softmax/{name}": found for name, found in counts.items()}


def _log_sums(matrix: _Matrix, factor: float) -> tuple[Tensor, Tensor]:
    """Return ``log sum exp(factor s)`` of each of this rank's rows, and of each column over all ranks."""
    device = matrix.owner.device
    captions = torch.full((len(matrix.owner),), -torch.inf, dtype=torch.float64)
    videos = torch.full((matrix.num_videos,), -torch.inf, dtype=torch.float64)
    captions = captions.to(device)
    videos = videos.to(device)
    for rows in matrix.row_ranges():
        for columns in matrix.column_ranges():
            z = factor * matrix.at(rows, columns)
            of = _slice(rows)
            to = _slice(columns)
            captions[of] = captions[of].logaddexp(z.logsumexp(1))
            videos[to] = videos[to].logaddexp(z.logsumexp(0))
    return captions, gather_rows(videos[None]).logsumexp(0)


def _count(
    s: Similarities, own: Tensor, wrong: Bool[Tensor, "q b"], dim: int
) -> Float64[Tensor, "2 n"]:
    """Count the wrong answers that are better than the right one, and those equal to it."""
    better = s > own + TIE * own.abs()
    tied = _equal(s, own)
    return torch.stack(
        [(better & wrong).sum(dim), (tied & wrong).sum(dim)]
    ).double()


def _equal(s: Tensor, own: Tensor) -> Tensor:
    return (s - own).abs() <= TIE * own.abs()


def _counts(
    better_and_tied: Float64[Tensor, "2 n"],
    own: Tensor,
    right: Tensor,
    candidates: int,
) -> RankCounts:
    better, tied = better_and_tied
    better = torch.where(own.isfinite(), better, torch.inf)
    return RankCounts(better, tied, right, candidates)


def _mean(x: Float64[Tensor, " q"]) -> float:
    # sorted, because a sum of fractions depends on their order
    return x.sort().values.mean().item()


def _columns_of_all(x: Float64[Tensor, "k q"]) -> Float64[Tensor, "k all"]:
    """Return the columns of all ranks, which may have different numbers of them."""
    return torch.cat(gather_objects(x.cpu()), 1).to(x.device)


def _ranges(total: int, size: int) -> list[range]:
    return [
        range(start, min(start + size, total)) for start in range(0, total, size)
    ]


def _slice(chosen: range) -> slice:
    return slice(chosen.start, chosen.stop)


def _check(owner: Owner, num_videos: int) -> None:
    captions = torch.tensor(len(owner), device=owner.device)
    if int(sum_over_ranks(captions)) == 0:
        raise ValueError("there is no caption to rank: the set is empty")
    if len(owner) == 0:
        return
    low = int(owner.min())
    high = int(owner.max())
    if low < 0 or high >= num_videos:
        raise ValueError(
            f"captions are of videos {low} to {high}; the videos of the set are 0 to {num_videos - 1}"
        )
