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

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Block = Callable[[range, range], Float[Tensor, "q b"]]
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
        return (1 + self.better + self.wrong / (self.right + 1)).clamp(max=self.candidates)

    def recall(self, k: int) -> Float64[Tensor, " q"]:
        """The probability that it is among the first k."""
        missed = torch.ones_like(self.better)
        for u in range(k):
            drawn = (self.wrong - u).clamp(min=0) / (self.wrong + self.right - u).clamp(min=1)
            missed = missed * torch.where(self.better + u < k, drawn, 1.0)
        return 1 - missed

    def summary(self, name: str) -> dict[str, float]:
        """``name/R1 R5 R10`` in percent, ``name/MdR`` and ``name/MnR``."""
        recalls = {f"{name}/R{k}": 100 * self.recall(k).mean().item() for k in RECALLS}
        rank = self.rank()
        return recalls | {f"{name}/MdR": rank.quantile(0.5).item(), f"{name}/MnR": rank.mean().item()}


def retrieval_metrics(
    similarity: Block,
    owner: Int64[Tensor, " q"],
    num_videos: int,
    *,
    dual_softmax: float | None = None,
    block: tuple[int, int] = (4096, 1024),
) -> dict[str, float]:
    """Recall at 1, 5 and 10 (percent), median and mean rank, in both directions, by name of the protocol.

    ``t2v``: each caption is a question to all videos. ``v2t_any``: each video is a question to all captions; the best
    of its own counts, against all captions of others. ``v2t_set``: each video is a question to the sets of captions of
    all videos, a set being as similar as its best caption (CLIP4Clip's protocol for MSVD; it gives higher numbers than
    ``v2t_any``). With one caption a video the two are the same. Videos without caption are candidates, not questions.

    The matrix is never whole: similarities are asked for by block, twice where a block holds own pairs.

    Args:
        similarity: of a range of captions to a range of videos; ``-inf`` for a video that could not be read.
        owner: the video of each caption, 0 to ``num_videos - 1``.
        num_videos: how many there are.
        dual_softmax: add the rows ``dual_softmax/...``: similarities times their softmax over all questions at this
            factor (Cheng et al., CAMoE, arXiv 2109.04290). It uses all questions at once and supposes that each video
            is asked for as often as any other: no number to compare with others.
        block: captions and videos at a time; no number depends on it.

    Raises:
        ValueError: a similarity is NaN or +inf, no caption, or an owner that is no video.
    """
    _check(owner, num_videos)
    ranks = _ranks(similarity, owner, num_videos, block)
    metrics = {key: value for name, places in ranks.items() for key, value in places.summary(name).items()}
    if dual_softmax is None:
        return metrics
    raise NotImplementedError


def _ranks(similarity: Block, owner: Tensor, num_videos: int, block: tuple[int, int]) -> dict[str, Places]:
    queries, videos = len(owner), num_videos
    own = torch.full((queries,), -torch.inf, dtype=torch.float64, device=owner.device)
    for rows in _ranges(queries, block[0]):
        mine = owner[rows.start : rows.stop]
        for columns in _ranges(videos, block[1]):
            here = (mine >= columns.start) & (mine < columns.stop)
            if here.any():
                s = _checked(similarity, rows, columns)
                index = (mine - columns.start).clamp(0, len(columns) - 1)
                own[rows.start : rows.stop] = torch.where(here, s.gather(1, index[:, None])[:, 0], own[rows.start : rows.stop])
    best = own.new_full((videos,), -torch.inf).scatter_reduce(0, owner, own, "amax")
    tied = own.new_zeros(videos).scatter_add(0, owner, _equal(own, best[owner]).double())
    t2v, any_, sets_ = (torch.zeros(2, n, dtype=torch.float64, device=owner.device) for n in (queries, videos, videos))
    for columns in _ranges(videos, block[1]):
        sets = own.new_full((videos, len(columns)), -torch.inf)
        place = torch.arange(columns.start, columns.stop, device=owner.device)
        for rows in _ranges(queries, block[0]):
            s, mine, mask = _checked(similarity, rows, columns), owner[rows.start : rows.stop], slice(rows.start, rows.stop)
            wrong = mine[:, None] != place
            o = own[mask, None]
            t2v[0, mask] += (_above(s, o) & wrong).sum(1)
            t2v[1, mask] += (_equal(s, o) & wrong).sum(1)
            any_[0, columns.start : columns.stop] += (_above(s, best[place]) & wrong).sum(0)
            any_[1, columns.start : columns.stop] += (_equal(s, best[place]) & wrong).sum(0)
            sets.scatter_reduce_(0, mine[:, None].expand_as(s), s, "amax")
        wrong = torch.arange(videos, device=owner.device)[:, None] != place
        sets_[0, place] = (_above(sets, best[place]) & wrong).sum(0).double()
        sets_[1, place] = (_equal(sets, best[place]) & wrong).sum(0).double()
    asked = torch.zeros(videos, dtype=torch.bool, device=owner.device).index_fill(0, owner, True)
    one = torch.ones_like
    return {
        "t2v": _places(t2v, own, one(own), videos),
        "v2t_any": _places(any_[:, asked], best[asked], tied[asked], queries),
        "v2t_set": _places(sets_[:, asked], best[asked], one(best[asked]), int(asked.sum())),
    }


def _places(counts: Tensor, own: Tensor, right: Tensor, candidates: int) -> Places:
    better = torch.where(own.isfinite(), counts[0], torch.inf)
    return Places(better, counts[1], right, candidates)


def _above(s: Tensor, own: Tensor) -> Tensor:
    return s > own + TIE * own.abs()


def _equal(s: Tensor, own: Tensor) -> Tensor:
    return (s - own).abs() <= TIE * own.abs()


def _checked(similarity: Block, rows: range, columns: range) -> Tensor:
    s = similarity(rows, columns).double()
    if (s.isnan() | (s == torch.inf)).any():
        raise ValueError("similarities hold NaN or +inf")
    return s


def _ranges(total: int, size: int) -> list[range]:
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def _check(owner: Tensor, num_videos: int) -> None:
    if len(owner) == 0:
        raise ValueError("no caption to rank")
    if owner.min() < 0 or owner.max() >= num_videos:
        raise ValueError(f"owners {owner.min()} to {owner.max()} are not all among {num_videos} videos")
