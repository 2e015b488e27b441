"""Compare sentences with videos, before any temperature."""

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

FrameEmbeddings = Float[Tensor, "b t e"]
Encoded = tuple[Tensor, ...]
"""What is computed of sentences alone, or of videos alone; the first axis of each tensor counts them."""
RaggedEncoded = tuple[Sequence[Tensor], ...]
"""The same, a tensor a sentence (:meth:`Similarity.take_text`): sentences need not be equally long."""
SimilarityOfBlock = Callable[[range, range], Float[Tensor, "q b"]]
"""Similarities of a range of sentences to a range of videos."""

MOST_ENTRIES = 2**25
"""Entries of the largest tensor that a comparison makes: 128 MiB in float32."""


class Similarity(nn.Module, ABC):
    """Compare each sentence with each video: ``compare(encode_texts(words), encode_videos(video))``.

    What sentences need alone and what videos need alone is computed once. What needs both is then computed for any
    block of sentences and videos, in float32 or more, under autocast, too.
    """

    def forward(self, video: FrameEmbeddings, words: Words) -> Float[Tensor, "q b"]:
        return self.compare(self.encode_texts(words), self.encode_videos(video))

    @abstractmethod
    def encode_texts(self, words: Words) -> Encoded:
        """Return what is needed of sentences."""

    @abstractmethod
    def encode_videos(self, video: FrameEmbeddings) -> Encoded:
        """Return what is needed of videos."""

    def take_text(self, texts: Encoded, row: int) -> Encoded:
        """Return what is needed of one sentence, without the first axis.

        Padding that changes no similarity may be left out.
        """
        return tuple(part[row] for part in texts)

    def compare(self, texts: Encoded, videos: Encoded) -> Float[Tensor, "q b"]:
        """Return the similarity of each sentence to each video.

        So many sentences are compared at a time as :data:`MOST_ENTRIES` allows.
        """
        entries_a_text = len(videos[0]) * self.entries_per_pair(texts, videos)
        rows = max(1, MOST_ENTRIES // entries_a_text)
        found: list[Tensor] = []
        with torch.autocast(texts[0].device.type, enabled=False):
            for some in zip(*(part.split(rows) for part in texts), strict=True):
                found.append(self.compare_at_once(some, videos))
        return torch.cat(found)

    @abstractmethod
    def entries_per_pair(self, texts: Encoded, videos: Encoded) -> int:
        """Return the entries of the largest tensor that one sentence and one video need."""

    @abstractmethod
    def compare_at_once(
        self, texts: Encoded, videos: Encoded
    ) -> Float[Tensor, "q b"]:
        """Return the similarity of each sentence to each video, without regard to memory."""

    def blocks(
        self,
        texts: Encoded | RaggedEncoded,
        videos: Encoded,
        *,
        device: torch.device | None = None,
    ) -> SimilarityOfBlock:
        """Return a function of ranges of sentences and videos that gives their similarities in float64.

        A sum in float32 depends on the place of a column in a matrix product, so that two equal videos may differ; in
        float64 that is far below what tells two videos apart (:mod:`lightning_petl.metrics.retrieval`).

        Args:
            texts: of all sentences, from :meth:`encode_texts`, or a sentence each from :meth:`take_text`; a block is
                as wide as its longest.
            videos: of all videos, from :meth:`encode_videos`.
            device: where to compare them; None: where they are. What is computed of each alone stays where it is.
        """

        @torch.no_grad()
        def block(rows: range, columns: range) -> Float64[Tensor, "q b"]:
            some_texts = _in_float64(texts, rows, device)
            some_videos = _in_float64(videos, columns, device)
            return self.compare(some_texts, some_videos)

        return block


class CosineOfMean(Similarity):
    """Compute ``cos(sentence, mean_t v_t / |v_t|)`` (:class:`MeanPooling`)."""

    def encode_texts(self, words: Words) -> Encoded:
        return (_unit(words.sentence),)

    def encode_videos(self, video: FrameEmbeddings) -> Encoded:
        return (_unit(_unit(video).mean(1)),)

    def entries_per_pair(self, texts: Encoded, videos: Encoded) -> int:
        return 1

    def compare_at_once(
        self, texts: Encoded, videos: Encoded
    ) -> Float[Tensor, "q b"]:
        return texts[0] @ videos[0].T


class TokenInteraction(Similarity):
    """Weigh the best frame of each word and the best word of each frame (:class:`WTI`)."""

    def __init__(self, embed_dim: int, masked: Literal["zero", "ignore"]) -> None:
        super().__init__()
        self.masked = masked
        self.word_weight = _scorer(embed_dim)
        self.frame_weight = _scorer(embed_dim)

    def encode_texts(self, words: Words) -> Encoded:
        score = self.word_weight(words.tokens).squeeze(-1)
        alpha = _softmax(score.masked_fill(~words.mask, -torch.inf))
        tokens = _unit(words.tokens) * words.mask.unsqueeze(-1)
        return tokens, alpha, words.mask

    def encode_videos(self, video: FrameEmbeddings) -> Encoded:
        return _unit(video), _softmax(self.frame_weight(video).squeeze(-1))

    def take_text(self, texts: Encoded, row: int) -> Encoded:
        words = int(texts[2][row].sum())
        # one word outside the mask, if any, does for all of them in max_i
        return tuple(part[row, : words + 1] for part in texts)

    def entries_per_pair(self, texts: Encoded, videos: Encoded) -> int:
        return texts[0].shape[1] * videos[0].shape[1]

    def compare_at_once(
        self, texts: Encoded, videos: Encoded
    ) -> Float[Tensor, "q b"]:
        words, alpha, mask = texts
        frames, beta = videos
        cosine = einsum(words, frames, "q l e, b t e -> q b l t")
        # max keeps positions for the backward pass, amax would keep the cosines
        best_frame = cosine.max(-1).values
        of_words = einsum(best_frame, alpha, "q b l, q l -> q b")
        if self.masked == "ignore":
            cosine = cosine.masked_fill(
                rearrange(~mask, "q l -> q 1 l 1"), -torch.inf
            )
        best_word = cosine.max(-2).values
        return (of_words + einsum(best_word, beta, "q b t, b t -> q b")) / 2


def _scorer(dim: int) -> nn.Sequential:
    """Build an MLP from one token to its score, of ``E² + 2 E + 1`` parameters."""
    # both are made before either is drawn again: the order of draws is that of old runs
    hidden = nn.Linear(dim, dim)
    score = nn.Linear(dim, 1)
    for linear in (hidden, score):
        nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(hidden, nn.ReLU(), score)


def _unit(x: Float[Tensor, "*batch e"]) -> Float[Tensor, "*batch e"]:
    return F.normalize(_at_least_float32(x), dim=-1)


def _softmax(x: Float[Tensor, "*batch l"]) -> Float[Tensor, "*batch l"]:
    return _at_least_float32(x).softmax(-1)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _in_float64(
    encoded: Encoded | RaggedEncoded, chosen: range, device: torch.device | None
) -> Encoded:
    found: list[Tensor] = []
    for part in encoded:
        rows = _padded(part[chosen.start : chosen.stop]).to(device)
        # masks stay boolean
        found.append(rows.double() if rows.is_floating_point() else rows)
    return tuple(found)


def _padded(rows: Tensor | Sequence[Tensor]) -> Tensor:
    if isinstance(rows, Tensor):
        return rows
    return pad_sequence(list(rows), batch_first=True)


class SimilarityRecipe(ABC):
    """Configure how sentences and videos are compared: a frozen dataclass of hyper-parameters."""

    @abstractmethod
    def build(self, embed_dim: int) -> Similarity:
        """Build the similarity in a space of width ``embed_dim``."""


@dataclass(frozen=True)
class MeanPooling(SimilarityRecipe):
    """Compare a sentence w with the mean of the frames: ``cos(w, v)``, ``v = mean_t v_t / |v_t|``; nothing to train.

    CLIP4Clip's parameter-free similarity (Luo et al., arXiv 2104.08860, section 3.3; frames are normalized before and
    behind the mean, as in its released code).
    """

    def build(self, embed_dim: int) -> Similarity:
        return CosineOfMean()


@dataclass(frozen=True, kw_only=True)
class WTI(SimilarityRecipe):
    """Compare words with frames: weighted token interaction (Wang et al., DRL, arXiv 2203.07111).

    Each word takes its best frame, and each frame its best word. With cosines ``s_ij`` of words i and frames j::

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
        return TokenInteraction(embed_dim, self.masked)
