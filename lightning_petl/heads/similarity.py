"""How alike a sentence and a video are, before any temperature."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightning_petl.shapes import Words

Frames = Float[Tensor, "b t e"]
Sides = tuple[Tensor, ...]
"""What is computed of each sentence, or of each video, alone; the first axis of each tensor counts them."""
Apart = tuple[Sequence[Tensor], ...]
"""The same, of each sentence apart, as :meth:`Similarity.alone` gives it: sentences need not be equally long."""
Block = Callable[[range, range], Float[Tensor, "q b"]]
"""Similarities of a range of sentences to a range of videos."""

LARGEST = 2**25
"""Numbers in the largest tensor that a comparison makes: 128 MiB in float32."""


class Similarity(nn.Module, ABC):
    """``forward(video, words) = compare(texts(words), videos(video))``, in float32 or more under autocast, too.

    What sentences and videos need alone is apart from what needs both: it is computed once, and what needs both is
    computed for any block of sentences and videos.
    """

    def forward(self, video: Frames, words: Words) -> Float[Tensor, "q b"]:
        return self.compare(self.texts(words), self.videos(video))

    @abstractmethod
    def texts(self, words: Words) -> Sides:
        """What is needed of sentences."""

    @abstractmethod
    def videos(self, video: Frames) -> Sides:
        """What is needed of videos."""

    def alone(self, texts: Sides, row: int) -> Sides:
        """What is needed of one sentence, without the first axis, and without filling that changes no similarity."""
        return tuple(side[row] for side in texts)

    def compare(self, texts: Sides, videos: Sides) -> Float[Tensor, "q b"]:
        """The similarity of each sentence to each video, of so many sentences at a time as :data:`LARGEST` allows."""
        rows = max(1, LARGEST // (len(videos[0]) * self.numbers_a_pair(texts, videos)))
        with torch.autocast(texts[0].device.type, enabled=False):
            parts = zip(*(side.split(rows) for side in texts), strict=True)
            return torch.cat([self.pairs(part, videos) for part in parts])

    @abstractmethod
    def numbers_a_pair(self, texts: Sides, videos: Sides) -> int:
        """Entries that the comparison of one sentence with one video takes."""

    @abstractmethod
    def pairs(self, texts: Sides, videos: Sides) -> Float[Tensor, "q b"]:
        """The similarity of each sentence to each video, at once."""

    def between(
        self, texts: Sides | Apart, videos: Sides, *, device: torch.device | None = None
    ) -> Block:
        """Similarities of ranges of sentences and videos, in float64.

        A sum in float32 depends on the place of a column in a matrix product, so that two equal videos may differ; in
        float64 that is far below what tells two videos apart (:mod:`lightning_petl.metrics.retrieval`).

        Args:
            texts: of all sentences, from :meth:`texts`, or each from :meth:`alone`; a block is as wide as its longest.
            videos: of all videos, from :meth:`videos`.
            device: where to compare them; None: where they are. What is computed of each alone stays where it is.
        """

        @torch.no_grad()
        def block(rows: range, columns: range) -> Float64[Tensor, "q b"]:
            return self.compare(
                _wide(texts, rows, device), _wide(videos, columns, device)
            )

        return block


class _Mean(Similarity):
    """``cos(sentence, mean_t v_t / |v_t|)``."""

    def texts(self, words: Words) -> Sides:
        return (_unit(words.sentence),)

    def videos(self, video: Frames) -> Sides:
        return (_unit(_unit(video).mean(1)),)

    def numbers_a_pair(self, texts: Sides, videos: Sides) -> int:
        return 1

    def pairs(self, texts: Sides, videos: Sides) -> Float[Tensor, "q b"]:
        return texts[0] @ videos[0].T


class _Interaction(Similarity):
    """:class:`WTI`."""

    def __init__(self, embed_dim: int, masked: Literal["zero", "ignore"]) -> None:
        super().__init__()
        self.masked = masked
        self.word_weight, self.frame_weight = _scorer(embed_dim), _scorer(embed_dim)

    def texts(self, words: Words) -> Sides:
        score = (
            self.word_weight(words.tokens)
            .squeeze(-1)
            .masked_fill(~words.mask, -torch.inf)
        )
        return (
            _unit(words.tokens) * words.mask.unsqueeze(-1),
            _softmax(score),
            words.mask,
        )

    def videos(self, video: Frames) -> Sides:
        return _unit(video), _softmax(self.frame_weight(video).squeeze(-1))

    def alone(self, texts: Sides, row: int) -> Sides:
        words = int(texts[2][row].sum())
        return tuple(
            side[row, : words + 1] for side in texts
        )  # one outside the mask, if any, does for all in max_i

    def numbers_a_pair(self, texts: Sides, videos: Sides) -> int:
        return texts[0].shape[1] * videos[0].shape[1]

    def pairs(self, texts: Sides, videos: Sides) -> Float[Tensor, "q b"]:
        (words, alpha, mask), (frames, beta) = texts, videos
        cosine = einsum(words, frames, "q l e, b t e -> q b l t")
        # max keeps positions, amax would keep the cosines
        word = einsum(cosine.max(-1).values, alpha, "q b l, q l -> q b")
        if self.masked == "ignore":
            cosine = cosine.masked_fill(rearrange(~mask, "q l -> q 1 l 1"), -torch.inf)
        return (word + einsum(cosine.max(-2).values, beta, "q b t, b t -> q b")) / 2


def _scorer(dim: int) -> nn.Sequential:
    """``E² + 2 E + 1`` parameters."""
    hidden, score = nn.Linear(dim, dim), nn.Linear(dim, 1)
    for linear in (hidden, score):
        nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(hidden, nn.ReLU(), score)


def _unit(x: Float[Tensor, "*batch e"]) -> Float[Tensor, "*batch e"]:
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def _softmax(x: Float[Tensor, "*batch l"]) -> Float[Tensor, "*batch l"]:
    return x.to(torch.promote_types(x.dtype, torch.float32)).softmax(-1)


def _wide(sides: Sides | Apart, chosen: range, device: torch.device | None) -> Sides:
    here = (_one(side[chosen.start : chosen.stop]).to(device) for side in sides)
    return tuple(side.double() if side.is_floating_point() else side for side in here)


def _one(rows: Tensor | Sequence[Tensor]) -> Tensor:
    return (
        rows if isinstance(rows, Tensor) else pad_sequence(list(rows), batch_first=True)
    )


class SimilarityRecipe(ABC):
    """How sentences and videos are compared: a frozen dataclass of hyper-parameters."""

    @abstractmethod
    def build(self, embed_dim: int) -> Similarity:
        """The similarity in a space of width ``embed_dim``."""


@dataclass(frozen=True)
class MeanPooling(SimilarityRecipe):
    """``cos(w, v)`` of the sentence w and the mean ``v = mean_t v_t / |v_t|`` of the frames; nothing to train.

    CLIP4Clip's parameter-free similarity (Luo et al., arXiv 2104.08860, section 3.3; frames are normalised before and
    behind the mean, as in its released code).
    """

    def build(self, embed_dim: int) -> Similarity:
        return _Mean()


@dataclass(frozen=True, kw_only=True)
class WTI(SimilarityRecipe):
    """Weighted token interaction (Wang et al., DRL, arXiv 2203.07111): each word finds its frame, each frame its word.

    With cosines ``s_ij`` of words i and frames j::

        alpha = softmax_i(MLP_text(w))        beta = softmax_j(MLP_video(v))        MLP: E -> E, ReLU, E -> 1
        similarity = 1/2 [sum_i alpha_i max_j s_ij + sum_j beta_j max_i s_ij]

    ``2 (E² + 2 E + 1)`` parameters: 526,338 for E = 512, 1,182,722 for E = 768; weights N(0, 0.02²), biases 0. Words
    outside the mask have alpha = 0.

    Args:
        masked: cosines of words outside the mask are 0 in ``max_i`` (``zero``, as published: a frame unlike every word
            of a short sentence then counts 0, not its negative maximum) or are left out of it (``ignore``).
    """

    masked: Literal["zero", "ignore"] = "zero"

    def build(self, embed_dim: int) -> Similarity:
        return _Interaction(embed_dim, self.masked)
