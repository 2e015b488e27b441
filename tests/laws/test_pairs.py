"""The cheap laws over every pair of methods; a pair that means nothing is an error."""

from collections.abc import Sequence

import pytest
import torch

from lightning_petl.adapters import Adapter, BitFit, LNTuning, LoRA, LvAdapter, attach
from lightning_petl.backbones import VideoViT
from tests.laws.methods import (
    ALL_PAIRS,
    LINEAR_DELTAS,
    MEANINGLESS_PAIRS,
    METHODS,
    MOVES_AT_INIT,
    PAIRS,
    READERS,
    ROUNDS_AT_INIT,
)
from tests.tiny import (
    adapted,
    clip,
    frozen,
    gradients,
    randomised,
    shake,
    tiny_vit,
    trainable,
    trunk_keys,
)


def _over(pairs: Sequence[tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("first", "second"), pairs, ids=["+".join(pair) for pair in pairs]
    )


every_pair = _over(PAIRS)


def _stack(*names: str) -> list[Adapter]:
    return [METHODS[name][0] for name in names]


@_over(MEANINGLESS_PAIRS)
def test_meaningless_pair_is_refused(first: str, second: str) -> None:
    reasons = r"stands alone|trains all|DoRA needs a linear layer for itself|are averaged|twice with the same settings"
    with pytest.raises(ValueError, match=reasons):
        adapted(_stack(first, second))


def test_most_pairs_mean_something() -> None:
    assert len(PAIRS) + len(MEANINGLESS_PAIRS) == len(ALL_PAIRS)
    assert len(PAIRS) > len(MEANINGLESS_PAIRS)


@_over([p for p in PAIRS if not (MOVES_AT_INIT | READERS) & {*p}])
def test_identity_at_init(first: str, second: str) -> None:
    exact = not {first, second} & ROUNDS_AT_INIT
    tolerance = 0 if exact else 1e-5
    ours = adapted(_stack(first, second))(clip())
    torch.testing.assert_close(ours, tiny_vit()(clip()), atol=tolerance, rtol=0)


@every_pair
def test_trains_what_both_train(first: str, second: str) -> None:
    """In the trunk the union; beside it, each method's own parameters, none lost to a clash of names."""
    alone = [trainable(adapted(_stack(name))) for name in (first, second)]
    both = adapted(_stack(first, second))
    in_trunk = set().union(*alone) & trunk_keys()
    added = sum(
        p.numel()
        for one in alone
        for name, p in one.items()
        if name not in trunk_keys()
    )
    ours = trainable(both)
    assert set(ours) & trunk_keys() == in_trunk
    assert (
        sum(p.numel() for name, p in ours.items() if name not in trunk_keys()) == added
    )
    assert set(both.owners) == set(ours)
    assert trunk_keys() <= both.state_dict().keys()


@every_pair
def test_frozen_weights_have_no_gradient_and_do_not_move(
    first: str, second: str
) -> None:
    vit = randomised(_stack(first, second))
    before = {name: p.clone() for name, p in frozen(vit).items()}
    gradients(vit, clip())
    torch.optim.AdamW(vit.parameters(), lr=0.1, weight_decay=0.1).step()
    after = frozen(vit)
    assert all(
        after[name].grad is None and torch.equal(after[name], before[name])
        for name in before
    )


@every_pair
def test_own_state_round_trips(first: str, second: str) -> None:
    source, target = (
        randomised(_stack(first, second), seed=3),
        adapted(_stack(first, second), seed=7),
    )
    own = trunk_keys() - trainable(source).keys()
    missing, unexpected = target.load_state_dict(
        {key: value for key, value in source.state_dict().items() if key not in own},
        strict=False,
    )
    assert set(missing) == own
    assert not unexpected
    assert torch.equal(source(clip()), target(clip()))


@every_pair
def test_folding_changes_no_output(first: str, second: str) -> None:
    vit = randomised(_stack(first, second))
    before = vit(clip()).detach()
    vit.fold()
    torch.testing.assert_close(vit(clip()).detach(), before, atol=1e-5, rtol=1e-5)
    if {first, second} <= LINEAR_DELTAS:
        assert vit.state_dict().keys() == trunk_keys()


@every_pair
def test_gradients_equal_under_checkpointing(first: str, second: str) -> None:
    stack = _stack(first, second)
    plain, saving = randomised(stack), randomised(stack, activation_checkpointing=True)
    expected, got = gradients(plain, clip()), gradients(saving, clip())
    assert expected.keys() == got.keys()
    assert all(_same(expected[name], got[name]) for name in expected)


def _same(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    return (
        first is second
        if first is None or second is None
        else torch.equal(first, second)
    )


def _randomised_by_owner(names: tuple[str, str]) -> VideoViT:
    """Weights depend on the method, not on its place in the stack."""
    vit, seen = tiny_vit(), set[str]()
    for name in names:
        with torch.random.fork_rng():
            torch.manual_seed(sorted(METHODS).index(name))
            attach(vit, METHODS[name])
            new = [
                p
                for key, p in trainable(vit).items()
                if key not in seen and key not in trunk_keys()
            ]
            shake(new, 0.05)
        seen |= set(trainable(vit))
    torch.manual_seed(0)
    shake([p for key, p in sorted(trainable(vit).items()) if key in trunk_keys()], 0.05)
    return vit


def _commutes(name: str) -> bool:
    return all(part.commutes for adapter in METHODS[name] for part in adapter.parts())


@_over([p for p in PAIRS if p[0] != p[1] and all(map(_commutes, p))])
def test_order_of_the_stack_does_not_matter(first: str, second: str) -> None:
    forth, back = (
        _randomised_by_owner((first, second)),
        _randomised_by_owner((second, first)),
    )
    torch.testing.assert_close(forth(clip()), back(clip()), atol=1e-5, rtol=1e-5)


def test_order_matters_where_it_is_declared() -> None:
    """``v * (W x) + B A x`` is not ``v * (W x + B A x)``: the declaration is needed."""
    assert not LvAdapter.commutes
    forth, back = (
        _randomised_by_owner(("lv_adapter", "lora_mlp")),
        _randomised_by_owner(("lora_mlp", "lv_adapter")),
    )
    assert (forth(clip()) - back(clip())).abs().max() > 1e-4


@pytest.mark.parametrize(
    "stack",
    [[BitFit(targets=("k",), outside=False), LNTuning()], [LoRA(), LoRA(rank=2)]],
)
def test_stacks_that_only_look_meaningless(stack: list[Adapter]) -> None:
    """One that adds vectors and trains nothing of the trunk is swallowed by none; other settings may come twice."""
    assert len(trainable(adapted(stack))) > len(trainable(adapted(stack[1:])))
