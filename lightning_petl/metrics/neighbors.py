"""Classify clips by the classes of their nearest neighbors: DINO's k-NN evaluation (Caron et al., ICCV 2021)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

# similarities that are in memory at a time: 256 MiB in float32
_AT_A_TIME = 1 << 26


class NeighborScores(NamedTuple):
    """Hold the accuracies of one number of neighbors.

    Attributes:
        k: neighbors that vote.
        top1: share of clips whose class has the most votes, 0 to 1.
        top5: share of clips whose class is among the five with the most votes.
    """

    k: int
    top1: float
    top5: float


def neighbor_scores(
    known: Float[Tensor, "n d"],
    known_labels: Int64[Tensor, " n"],
    asked: Float[Tensor, "m d"],
    asked_labels: Int64[Tensor, " m"],
    *,
    ks: Sequence[int],
    temperature: float,
    advance: Callable[[int], None] = lambda clips: None,
) -> list[NeighborScores]:
    """Return the accuracies for each k: the k known clips of the largest cosine vote with weight ``exp(cosine / T)``.

    The search is exact. Nothing is learned, and no more than 2^26 similarities are in memory at a time.

    Args:
        known: features of training.
        known_labels: their classes.
        asked: features of the clips that are classified.
        asked_labels: their classes.
        ks: each at most the number of known clips.
        temperature: T.
        advance: called with the number of clips that were classified.

    >>> known = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> labels = torch.tensor([0, 0, 1])
    >>> neighbor_scores(known, labels, known[2:], labels[2:], ks=[1, 3], temperature=0.07)
    [NeighborScores(k=1, top1=1.0, top5=1.0), NeighborScores(k=3, top1=1.0, top5=1.0)]
    """
    known = normalize(known, dim=-1)
    asked = normalize(asked, dim=-1)
    classes = int(torch.cat([known_labels, asked_labels]).max()) + 1
    hits = torch.zeros(len(ks), 2, dtype=torch.long)
    size = max(1, _AT_A_TIME // len(known))
    for first in range(0, len(asked), size):
        labels = asked_labels[first : first + size]
        similarity = asked[first : first + size] @ known.T
        nearest = similarity.topk(max(ks))
        voted = known_labels[nearest.indices]
        weight = (nearest.values / temperature).exp()
        for number, k in enumerate(ks):
            votes = similarity.new_zeros(len(labels), classes)
            votes.scatter_add_(1, voted[:, :k], weight[:, :k])
            hits[number, 0] += _among(votes, labels, 1).sum()
            hits[number, 1] += _among(votes, labels, 5).sum()
        advance(len(labels))
    scores: list[NeighborScores] = []
    for k, (top1, top5) in zip(ks, (hits / len(asked)).tolist(), strict=True):
        scores.append(NeighborScores(k, top1, top5))
    return scores


def _among(
    votes: Float[Tensor, "m c"], labels: Int64[Tensor, " m"], count: int
) -> Bool[Tensor, " m"]:
    """Tell whose class is among the ``count`` with the most votes; a class without a vote never is.

    Of classes with equal votes the one with the lower number comes first.
    """
    own = votes.gather(1, labels[:, None])
    before = torch.arange(votes.shape[1]) < labels[:, None]
    ahead = (votes > own) | ((votes == own) & before)
    return (ahead.sum(1) < count) & (own[:, 0] > 0)
