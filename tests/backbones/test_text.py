"""A text tower from scratch: what it reads of a text, how it begins, and what adapters change of it."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_petl.adapters import (
    VPT,
    BitFit,
    FullFineTuning,
    LinearProbe,
    LoRA,
    Side4Video,
    attach,
)
from lightning_petl.backbones.text import TextFamily, TextTower, Words
from tests.tiny import frozen, shake, trainable

WIDTH, DEPTH, EMBED, LENGTH, END = 32, 2, 24, 12, 99
TOY = TextFamily(vocabulary=100, end=END)


def tower(seed: int = 0, noise: float = 0.05, **options: Any) -> TextTower:
    """Two blocks over a vocabulary of a hundred."""
    settings = {
        "embed_dim": EMBED,
        "width": WIDTH,
        "depth": DEPTH,
        "heads": 4,
        "context_length": LENGTH,
        "family": TOY,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text = TextTower(**settings | options)
        shake(text.parameters(), noise)
    return text


def ids(*lengths: int) -> Tensor:
    """Texts of so many tokens, the end token among them, filled with 0."""
    words = torch.randint(
        1, END, (len(lengths), LENGTH), generator=torch.Generator().manual_seed(0)
    )
    for text, length in zip(words, lengths, strict=True):
        text[length - 1], text[length:] = END, 0
    return words


def written_out(text: TextTower, ids: Tensor, causal: bool) -> Tensor:
    """The tower's equations, with every softmax and mask written out."""
    x = text.token_embedding.weight[ids] + text.pos_embed[: ids.shape[1]]
    length, heads = ids.shape[1], 4
    for block in text.blocks:
        h = nn.functional.layer_norm(
            x, (WIDTH,), block.norm1.weight, block.norm1.bias, 1e-5
        )
        q, k, v = (h @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, -1)
        out = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * WIDTH // heads, (head + 1) * WIDTH // heads)
            scores = q[..., part] @ k[..., part].mT / math.sqrt(WIDTH // heads)
            for row in range(length if causal else 0):
                scores[:, row, row + 1 :] = -math.inf
            out[..., part] = scores.softmax(-1) @ v[..., part]
        x = x + out @ block.attn.proj.weight.T + block.attn.proj.bias
        h = nn.functional.layer_norm(
            x, (WIDTH,), block.norm2.weight, block.norm2.bias, 1e-5
        )
        h = h @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
        x = x + h @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    x = nn.functional.layer_norm(
        x, (WIDTH,), text.norm.weight, text.norm.bias, 1e-5
    )
    return x @ text.projection.weight.T


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_equals_its_equations(causal: bool) -> None:
    text = tower(family=TextFamily(vocabulary=100, end=END, causal=causal))
    words = text(ids(3, 12, 7))
    torch.testing.assert_close(
        words.tokens, written_out(text, ids(3, 12, 7), causal), atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_words_reach_from_the_start_to_the_end_token() -> None:
    text = tower()
    words = text(ids(3, 12, 7))
    assert isinstance(words, Words)
    assert words.mask.sum(1).tolist() == [3, 12, 7]
    assert words.mask[0].tolist() == [True] * 3 + [False] * 9
    assert torch.equal(
        words.sentence,
        torch.stack([words.tokens[0, 2], words.tokens[1, 11], words.tokens[2, 6]]),
    )
    endless = ids(3)
    endless[0, 2] = 5
    assert text(endless).mask.all()
    last = tower(
        family=TextFamily(vocabulary=100, end=END, causal=False, sentence="last")
    )(ids(3))
    assert torch.equal(last.sentence, last.tokens[:, -1])
    assert last.mask.sum() == 3


@torch.no_grad()
def test_what_stands_behind_changes_nothing() -> None:
    text, short, other = tower(), ids(5), ids(5)
    other[0, 5:] = 7
    assert torch.equal(text(short).tokens[:, :5], text(other).tokens[:, :5])
    torch.testing.assert_close(text(short[:, :5]).sentence, text(short).sentence)


def test_texts_of_another_length_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"texts have 13 tokens; TextTower reads 12"
    ):
        tower()(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ValueError, match=r"texts have 11 tokens"):
        tower(family=TextFamily(vocabulary=100, causal=False))(
            torch.zeros(1, 11, dtype=torch.long)
        )


def test_begins_as_clip_does() -> None:
    text = TextTower(embed_dim=128, width=256, depth=2, heads=4)
    assert text.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert text.logit_bias is None
    block: Any = text.blocks[0]
    stds = {
        text.token_embedding: 0.02,
        text.projection: 1 / 16,
        block.attn.qkv: 1 / 16,
        block.attn.proj: 1 / 32,
    }
    stds |= {block.mlp.fc1: 512**-0.5, block.mlp.fc2: 1 / 32}
    for module, std in stds.items():
        assert module.weight.std().item() == pytest.approx(std, rel=0.05)
    assert text.pos_embed.std().item() == pytest.approx(0.01, rel=0.05)
    assert not block.attn.qkv.bias.any()
    assert not trainable(text)
    assert text.context_length == 32


def test_counts() -> None:
    """V w + l w, L (12 w² + 13 w), 2 w, w e, and the scale."""
    expected = (
        100 * WIDTH
        + LENGTH * WIDTH
        + DEPTH * (12 * WIDTH**2 + 13 * WIDTH)
        + 2 * WIDTH
        + WIDTH * EMBED
        + 1
    )
    assert sum(p.numel() for p in tower().parameters()) == expected


ADAPTERS = {
    "lora": (
        [LoRA(rank=4, targets=("q", "v", "fc1"))],
        DEPTH * 4 * (2 * 2 * WIDTH + 5 * WIDTH),
    ),
    "bitfit": ([BitFit()], DEPTH * 11 * WIDTH + WIDTH),
    "bitfit_of_queries": ([BitFit(targets=("q",), outside=False)], DEPTH * WIDTH),
    "both": (
        [LoRA(rank=4), BitFit(blocks="last 1")],
        DEPTH * 4 * 4 * WIDTH + 11 * WIDTH + WIDTH,
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_begin_as_nothing_and_alone_train(name: str) -> None:
    adapters, count = ADAPTERS[name]
    text = tower()
    before = text(ids(3, 12, 7))
    attach(text, adapters)
    after = text.train()(ids(3, 12, 7))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert sum(p.numel() for p in trainable(text).values()) == count
    assert text.owners.keys() == trainable(text).keys()
    assert set(text.owners.values()) == {adapter.name for adapter in adapters}

    kept = {key: p.clone() for key, p in frozen(text).items()}
    shake([p for key, p in trainable(text).items() if key.endswith(".B")], 0.1)
    words = text(ids(3, 12, 7))
    (words.tokens * torch.linspace(-1, 1, EMBED)).pow(2).sum().backward()
    torch.optim.SGD(trainable(text).values(), lr=0.1).step()
    assert all(
        p.grad is None and torch.equal(p, kept[key])
        for key, p in frozen(text).items()
    )
    assert all(
        p.grad is not None and p.grad.any() for p in trainable(text).values()
    )
    assert not torch.equal(text(ids(3, 12, 7)).tokens, words.tokens)


def test_full_fine_tuning_trains_all_and_a_probe_nothing() -> None:
    text = tower()
    attach(text, [FullFineTuning()])
    assert set(text.owners.values()) == {"FullFineTuning"}
    assert text.owners.keys() == dict(text.named_parameters()).keys()
    probed = tower()
    attach(probed, [LinearProbe()])
    assert not trainable(probed)


@pytest.mark.parametrize(
    "adapter", [VPT(), Side4Video()], ids=lambda adapter: adapter.name
)
def test_methods_of_frames_are_refused(adapter: Any) -> None:
    told = rf"{adapter.name} works on frames; the text tower 'TextTower' takes LoRA or BitFit"
    with pytest.raises(ValueError, match=told):
        attach(tower(), [adapter])


def test_what_stands_in_front_of_what_trains_keeps_nothing() -> None:
    text = tower(depth=3)
    attach(text, [LoRA(blocks=[1])])
    seen: list[bool] = []
    for block in text.blocks:
        block.register_forward_hook(lambda _, __, x: seen.append(x.requires_grad))
    text(ids(4))
    assert text.frozen_stages == 2
    assert seen == [False, True, True]


def test_folds_back_to_its_own_names() -> None:
    text = tower()
    keys = text.state_dict().keys()
    attach(text, [LoRA(targets=("q", "k", "v", "o", "fc1", "fc2"))])
    shake(trainable(text).values(), 0.1)
    expected = text(ids(5)).tokens
    text.fold()
    assert text.state_dict().keys() == keys
    torch.testing.assert_close(text(ids(5)).tokens, expected, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_for_what_does_not_train() -> None:
    text = tower()
    expected = text(ids(3, 12)).sentence
    text.frozen_dtype = "bfloat16"
    attach(text, [LoRA()])
    dtypes = {key: p.dtype for key, p in text.named_parameters()}
    assert (
        dtypes["token_embedding.weight"]
        == dtypes["blocks.0.attn.qkv.weight"]
        == torch.bfloat16
    )
    assert {
        dtypes["logit_scale"],
        dtypes["norm.weight"],
        dtypes["blocks.0.attn.qkv.deltas.LoRA.A"],
    } == {torch.float32}
    got = text(ids(3, 12)).sentence
    assert got.dtype == torch.float32
    assert (got - expected).norm() < 0.03 * expected.norm()


def test_activation_checkpointing_changes_nothing() -> None:
    text = tower()
    attach(text, [LoRA()])
    shake(trainable(text).values(), 0.1)
    again = copy.deepcopy(text)
    again.activation_checkpointing = True
    for each in (text, again):
        each(ids(5)).tokens.square().sum().backward()
    for key, parameter in trainable(text).items():
        assert torch.equal(parameter.grad, trainable(again)[key].grad)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 0}, "width 0 of a text tower must be above zero"),
        ({"heads": 5}, "width 32 of a text tower is not a multiple of its 5 heads"),
        ({"context_length": 2}, "context_length 2 holds no word"),
    ],
)
def test_sizes_that_cannot_be_are_told(options: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tower(**options)


def test_tokenizes_to_its_own_length() -> None:
    pytest.importorskip("open_clip")
    text = tower(family=TextFamily())
    assert text.tokenize(["a ball", "word " * 99]).shape == (2, LENGTH)
    assert text(text.tokenize(["a ball", "word " * 99])).mask.sum(1).tolist() == [
        4,
        LENGTH,
    ]
