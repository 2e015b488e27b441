"""Similarities against sums written out by hand, in blocks and whole, and what they refuse."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_petl.heads import similarity
from lightning_petl.heads.similarity import WTI, MeanPooling, Similarity
from lightning_petl.shapes import Words

RECIPES = {"mean": MeanPooling(), "wti": WTI(), "wti_ignore": WTI(masked="ignore")}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def sentences(count: int, width: int = 8, length: int = 5, seed: int = 0) -> Words:
    """Random sentences of 1 to ``length`` words."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(length) < torch.randint(
        1, length + 1, (count, 1), generator=draw
    )
    tokens = torch.randn(count, length, width, generator=draw)
    return Words(tokens, mask, torch.randn(count, width, generator=draw))


def videos(count: int, width: int = 8, frames: int = 3, seed: int = 1) -> Tensor:
    """Random frames."""
    return torch.randn(
        count, frames, width, generator=torch.Generator().manual_seed(seed)
    )


def built(recipe: MeanPooling | WTI, width: int = 8) -> Similarity:
    """With scores of words and frames that differ."""
    torch.manual_seed(0)
    module = recipe.build(width)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def test_mean_of_unit_frames() -> None:
    """Frames (3, 0) and (0, 1): their directions' mean is (1, 1) / 2, whatever their lengths."""
    words = Words(
        torch.zeros(2, 1, 2),
        torch.ones(2, 1, dtype=torch.bool),
        torch.tensor([[5.0, 0.0], [2.0, 2.0]]),
    )
    sim = MeanPooling().build(2)(
        torch.tensor([[[3.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [-2.0, 0.0]]]), words
    )
    torch.testing.assert_close(
        sim, torch.tensor([[math.sqrt(0.5), -1.0], [1.0, -math.sqrt(0.5)]])
    )


@pytest.mark.parametrize(("masked", "second"), [("zero", 0.0), ("ignore", -0.6)])
def test_weighted_token_interaction_by_hand(masked: str, second: float) -> None:
    """Words (1, 0), (0, 1) and one that is masked; frames (0.8, 0.6) and (-0.8, -0.6). All scores are 0 without
    weights, so that words weigh 1/2 and frames 1/2. Each word's best frame is the first: 0.8 and 0.6. The first
    frame's best word gives 0.8; the second's -0.6, or the masked word's 0.
    """
    module = WTI(masked=masked).build(2)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    tokens, mask = (
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]]),
        torch.tensor([[True, True, False]]),
    )
    sim = module(
        torch.tensor([[[0.8, 0.6], [-0.8, -0.6]]]),
        Words(tokens, mask, torch.zeros(1, 2)),
    )
    expected = ((0.8 + 0.6) / 2 + (0.8 + second) / 2) / 2
    torch.testing.assert_close(sim, torch.tensor([[expected]]))


@pytest.mark.parametrize("masked", ["zero", "ignore"])
def test_weighted_token_interaction_pair_by_pair(masked: str) -> None:
    module, words, video = built(WTI(masked=masked)), sentences(6), videos(4)
    expected = torch.tensor(
        [
            [_interaction(module, words, q, frames, masked) for frames in video]
            for q in range(6)
        ]
    )
    torch.testing.assert_close(module(video, words).detach(), expected)


@torch.no_grad()
def _interaction(
    module: Similarity, words: Words, q: int, frames: Tensor, masked: str
) -> float:
    """The definition, over the words that are there."""
    there = [i for i, used in enumerate(words.mask[q]) if used]
    texts, (word_mlp, frame_mlp) = (
        words.tokens[q][there],
        (module.word_weight, module.frame_weight),
    )
    alpha, beta = (
        word_mlp(texts)[:, 0].softmax(0),
        frame_mlp(frames)[:, 0].softmax(0),
    )
    cosine = torch.stack(
        [torch.stack([w @ v / w.norm() / v.norm() for v in frames]) for w in texts]
    )
    of_words, of_frames = (cosine.max(dim).values for dim in (1, 0))
    if masked == "zero" and len(there) < len(words.mask[q]):
        of_frames = of_frames.clamp(min=0)
    return float((alpha * of_words).sum() + (beta * of_frames).sum()) / 2


@every_recipe
def test_masked_words_mean_nothing(recipe: MeanPooling | WTI) -> None:
    module, words, video = built(recipe), sentences(6), videos(4)
    other = words._replace(
        tokens=torch.where(
            words.mask[..., None], words.tokens, 7 * torch.randn(6, 5, 8)
        )
    )
    assert not words.mask.all()
    assert torch.equal(module(video, words), module(video, other))


@pytest.mark.parametrize(("width", "count"), [(512, 526_338), (768, 1_182_722)])
def test_published_counts(width: int, count: int) -> None:
    assert sum(p.numel() for p in WTI().build(width).parameters()) == count
    assert not list(MeanPooling().build(width).parameters())


def test_initial_values() -> None:
    torch.manual_seed(0)
    for name, parameter in WTI().build(512).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(parameter.mean().item()) < 2e-3


@every_recipe
def test_identical_directions_are_one(recipe: MeanPooling | WTI) -> None:
    """All words and frames along one direction: similarity 1, whatever their weights and lengths."""
    direction = torch.randn(8, generator=torch.Generator().manual_seed(0))
    words = Words(
        direction.expand(1, 5, 8),
        torch.ones(1, 5, dtype=torch.bool),
        2 * direction[None],
    )
    torch.testing.assert_close(
        built(recipe)(3 * direction.expand(1, 3, 8), words), torch.ones(1, 1)
    )


@every_recipe
def test_blocks_are_parts_of_the_whole(
    recipe: MeanPooling | WTI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many sentences are compared at a time."""
    module, words, video = built(recipe), sentences(11), videos(7)
    whole = module(video, words).detach()
    for largest in (2**25, 7 * 5 * 3 * 2, 1):
        monkeypatch.setattr(similarity, "MOST_ENTRIES", largest)
        torch.testing.assert_close(module(video, words).detach(), whole)
        block = module.blocks(
            module.encode_texts(words), module.encode_videos(video)
        )
        parts = [torch.cat([block(range(a, min(a + 4, 11)), range(b, min(b + 3, 7))) for b in (0, 3, 6)], dim=1)
                 for a in (0, 4, 8)]  # fmt: skip
        assert parts[0].dtype == torch.float64
        torch.testing.assert_close(torch.cat(parts).float(), whole)


@every_recipe
def test_filling_is_not_kept(recipe: MeanPooling | WTI) -> None:
    """Each sentence apart, its filling cut to one word, is as similar as among all others; frames unlike every word."""
    module, words = built(recipe), sentences(11)
    assert words.mask.all(1).any()
    assert not words.mask.all(1).all()
    video = torch.cat(
        [videos(6), -words.tokens[words.mask.all(1)][:1, :3]]
    )  # where a filled place counts 0, or none
    texts, sides = module.encode_texts(words), module.encode_videos(video)
    apart = [module.take_text(texts, row) for row in range(11)]
    if isinstance(recipe, WTI):
        used = words.mask.sum(1)
        assert [len(each[0]) for each in apart] == (used + 1).clamp(max=5).tolist()
    expected = module.blocks(texts, sides)(range(11), range(7))
    block = module.blocks(tuple(zip(*apart, strict=True)), sides)
    for rows in (range(11), range(2, 5), range(7, 8)):
        found = block(rows, range(7))
        torch.testing.assert_close(
            found, expected[rows.start : rows.stop], rtol=0, atol=1e-14
        )


class _Largest(TorchDispatchMode):
    """Sees the largest tensor that any operator makes."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.numbers = max(
            [self.numbers, *(x.numel() for x in (result,) if isinstance(x, Tensor))]
        )
        return result


@pytest.mark.parametrize("masked", ["zero", "ignore"])
def test_cosines_of_all_words_and_frames_are_never_whole(
    masked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "MOST_ENTRIES", 2000)
    module, words, video = built(WTI(masked=masked)), sentences(40), videos(40)
    block = module.blocks(module.encode_texts(words), module.encode_videos(video))
    with _Largest() as seen:
        block(range(40), range(40))
    assert seen.numbers <= 2000 < 40 * 40 * 5 * 3


@every_recipe
def test_float32_under_autocast(recipe: MeanPooling | WTI) -> None:
    """Cosines of 8 bits would tie."""
    module, words, video = built(recipe), sentences(6), videos(4)
    texts, sides = module.encode_texts(words), module.encode_videos(video)
    with torch.autocast("cpu", torch.bfloat16):
        compared = module.compare(texts, sides)
        assert module(video.bfloat16(), words).dtype == torch.float32
    assert torch.equal(compared, module(video, words))


@every_recipe
def test_equal_videos_are_equally_similar(recipe: MeanPooling | WTI) -> None:
    """Wherever they stand: in float64 the place of a column in a matrix product is far below a tie's tolerance."""
    module, words, video = built(recipe, 64), sentences(5, 64), videos(1, 64)
    sides = tuple(
        side.expand(37, *side.shape[1:]) for side in module.encode_videos(video)
    )
    sim = module.blocks(module.encode_texts(words), sides)(range(5), range(37))
    assert (sim - sim[:, :1]).abs().max() < 1e-14
