"""Where the right answer stands among all others: recall, median and mean rank, exact over a whole set.

Ties are broken at random, and every number is the expectation: a model that answers the same to everything gets what
chance gets. With ``better`` wrong answers in front of the best right one, and ``wrong`` wrong ones among ``wrong +
right`` answers tied with it, the first right one stands on average at

    rank = 1 + better + wrong / (right + 1)                       # one right answer: ties count half

and is among the first k with probability

    recall_k = 1 - prod_{u < k - better} (wrong - u) / (wrong + right - u)

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
from lightning_petl.heads.similarity import Block
from lightning_petl.losses.contrastive import gathered

Owner = Int64[Tensor, " q"]
Similarities = Float64[Tensor, "q b"]
RECALLS = (1, 5, 10)
TIE = 1e-9
"""Similarities whose relative difference is below it are equal: far above rounding in float64, far below float32's."""


class Places(NamedTuple):
    """Of each question: ``better`` wrong answers (inf: never found), ``wrong`` and ``right`` tied ones, candidates."""

    better: Float64[Tensor, " q"]
    wrong: Float64[Tensor, " q"]
    right: Float64[Tensor, " q"]
    candidates: int

    def rank(self) -> Float64[Tensor, " q"]:
        """The expected rank of the first right answer."""
        return (1 + self.better + self.wrong / (self.right + 1)).clamp(
            max=self.candidates
        )

    def recall(self, k: int) -> Float64[Tensor, " q"]:
        """The probability that it is among the first k."""
        missed = torch.ones_like(self.better)
        for u in range(k):
            drawn = (self.wrong - u).clamp(min=0) / (self.wrong + self.right - u).clamp(
                min=1
            )
            missed = missed * torch.where(self.better + u < k, drawn, 1.0)
        return 1 - missed

    def summary(self, name: str) -> dict[str, float]:
        """``name/R1 R5 R10`` in percent, ``name/MdR`` and ``name/MnR``, to the last bit in any order of questions."""
        recalls = {f"{name}/R{k}": 100 * _mean(self.recall(k)) for k in RECALLS}
        rank = self.rank()
        return recalls | {
            f"{name}/MdR": rank.quantile(0.5).item(),
            f"{name}/MnR": _mean(rank),
        }


def retrieval_metrics(
    similarity: Block,
    owner: Owner,
    num_videos: int,
    *,
    dual_softmax: float | None = None,
    block: tuple[int, int] = (1024, 1024),
) -> dict[str, float]:
    """Recall at 1, 5 and 10 (percent), median and mean rank, in both directions, under the name of the protocol.

    ``t2v``: each caption is a question to all videos. ``v2t_any``: each video is a question to all captions; the best
    of its own counts, among those of all others. ``v2t_set``: each video is a question to the sets of captions of all
    videos, a set being as similar as its best caption (CLIP4Clip's protocol for MSVD; it gives higher numbers than
    ``v2t_any``). With one caption a video the two are the same. Videos without caption are candidates, not questions.

    The matrix is never whole: similarities are asked for block by block, twice where a block holds own pairs.

    Over several processes each brings captions of its own, or none, and compares them with all videos. What is counted
    is then added up, and what is best is compared: whole numbers and maxima, so that all get the numbers that one
    process gets, to the last bit. All must call it.

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
    places = _places(similarity, owner, num_videos, block)
    if dual_softmax is not None:
        places |= _dual_places(similarity, owner, num_videos, block, dual_softmax)
    return {
        name: value
        for protocol, found in places.items()
        for name, value in found.summary(protocol).items()
    }


def _places(
    similarity: Block, owner: Owner, num_videos: int, block: tuple[int, int]
) -> dict[str, Places]:
    own = _own(similarity, owner, num_videos, block)
    best = max_over_ranks(
        own.new_full((num_videos,), -torch.inf).scatter_reduce(0, owner, own, "amax")
    )
    number = torch.arange(num_videos, device=owner.device)
    t2v, v2t_any, v2t_set = (
        own.new_zeros(2, questions)
        for questions in (len(owner), num_videos, num_videos)
    )
    for columns in _ranges(num_videos, block[1]):
        to, sets = _slice(columns), own.new_full((num_videos, len(columns)), -torch.inf)
        for rows in _ranges(len(owner), block[0]):
            of, s = _slice(rows), _finite(similarity, rows, columns)
            wrong = owner[of, None] != number[to]
            t2v[:, of] += _count(s, own[of, None], wrong, 1)
            v2t_any[:, to] += _count(s, best[to], wrong, 0)
            sets.scatter_reduce_(0, owner[of, None].expand_as(s), s, "amax")
        v2t_set[:, to] = _count(
            max_over_ranks(sets), best[to], number[:, None] != number[to], 0
        )
    v2t_any, captions = (
        sum_over_ranks(v2t_any),
        sum_over_ranks(owner.bincount(minlength=num_videos)),
    )
    right = sum_over_ranks(
        own.new_zeros(num_videos).scatter_add(
            0, owner, _equal(own, best[owner]).double()
        )
    )
    *t2v, own = _of_all(torch.stack([*t2v, own]))
    asked = captions > 0
    one = torch.ones_like(best[asked])
    return {
        "t2v": _found(torch.stack(t2v), own, torch.ones_like(own), num_videos),
        "v2t_any": _found(
            v2t_any[:, asked], best[asked], right[asked], int(captions.sum())
        ),
        "v2t_set": _found(v2t_set[:, asked], best[asked], one, len(one)),
    }


def _own(
    similarity: Block, owner: Owner, num_videos: int, block: tuple[int, int]
) -> Float64[Tensor, " q"]:
    """The similarity of each caption to its own video, out of the same blocks as all others."""
    own = torch.empty(len(owner), dtype=torch.float64, device=owner.device)
    for rows in _ranges(len(owner), block[0]):
        mine = owner[_slice(rows)]
        for columns in _ranges(num_videos, block[1]):
            here = ((mine >= columns.start) & (mine < columns.stop)).nonzero()[:, 0]
            if len(here) > 0:
                own[rows.start + here] = _finite(similarity, rows, columns)[
                    here, mine[here] - columns.start
                ]
    return own


def _dual_places(
    similarity: Block,
    owner: Owner,
    num_videos: int,
    block: tuple[int, int],
    factor: float,
) -> dict[str, Places]:
    captions, videos = (
        torch.full((n,), -torch.inf, dtype=torch.float64)
        for n in (len(owner), num_videos)
    )
    captions, videos = captions.to(owner.device), videos.to(owner.device)
    for rows in _ranges(len(owner), block[0]):
        for columns in _ranges(num_videos, block[1]):
            z, of, to = (
                factor * _finite(similarity, rows, columns),
                _slice(rows),
                _slice(columns),
            )
            captions[of] = captions[of].logaddexp(z.logsumexp(1))
            videos[to] = videos[to].logaddexp(z.logsumexp(0))
    videos = gathered(videos[None]).logsumexp(0)

    def weighted(rows: range, columns: range, *, over_captions: bool) -> Similarities:
        s = _finite(similarity, rows, columns)
        total = (
            videos[_slice(columns)] if over_captions else captions[_slice(rows), None]
        )
        return torch.where(s.isfinite(), s * (factor * s - total).exp(), s)

    t2v = _places(partial(weighted, over_captions=True), owner, num_videos, block)
    v2t = _places(partial(weighted, over_captions=False), owner, num_videos, block)
    return {
        f"dual_softmax/{name}": (t2v if name == "t2v" else v2t)[name] for name in t2v
    }


def _count(
    s: Similarities, own: Tensor, wrong: Bool[Tensor, "q b"], dim: int
) -> Float64[Tensor, "2 n"]:
    """How many wrong answers are better than, and equal to, the right one."""
    better = s > own + TIE * own.abs()
    return torch.stack(
        [(better & wrong).sum(dim), (_equal(s, own) & wrong).sum(dim)]
    ).double()


def _equal(s: Tensor, own: Tensor) -> Tensor:
    return (s - own).abs() <= TIE * own.abs()


def _found(
    counts: Float64[Tensor, "2 n"], own: Tensor, right: Tensor, candidates: int
) -> Places:
    return Places(
        torch.where(own.isfinite(), counts[0], torch.inf), counts[1], right, candidates
    )


def _finite(similarity: Block, rows: range, columns: range) -> Similarities:
    s = similarity(rows, columns).double()
    wrong = (s.isnan() | s.isposinf()).nonzero()
    if len(wrong) > 0:
        row, column = wrong[0].tolist()
        raise ValueError(
            f"the similarity of caption {rows[row]} and video {columns[column]} is {s[row, column].item()}, which "
            "has no rank: the model has diverged, or computes beyond the range of its numbers"
        )
    return s


def _mean(x: Float64[Tensor, " q"]) -> float:
    return x.sort().values.mean().item()  # a sum of fractions depends on their order


def _of_all(x: Float64[Tensor, "k q"]) -> Float64[Tensor, "k all"]:
    """The columns of all processes, which may have different numbers of them."""
    return torch.cat(gather_objects(x.cpu()), 1).to(x.device)


def _ranges(total: int, size: int) -> list[range]:
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def _slice(chosen: range) -> slice:
    return slice(chosen.start, chosen.stop)


def _check(owner: Owner, num_videos: int) -> None:
    if int(sum_over_ranks(torch.tensor(len(owner), device=owner.device))) == 0:
        raise ValueError("there is no caption to rank: the set is empty")
    if len(owner) == 0:
        return
    low, high = int(owner.min()), int(owner.max())
    if low < 0 or high >= num_videos:
        raise ValueError(
            f"captions are of videos {low} to {high}; the videos of the set are 0 to {num_videos - 1}"
        )
