"""The cheap laws over every pair of methods; a pair that means nothing is an error."""

from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from lightning_petl.adapters import (
    Adapter,
    BitFit,
    LNTuning,
    LoRA,
    LvAdapter,
    attach,
)
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
    shake,
    shake_trainable,
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


@every_pair
def test_laws(first: str, second: str) -> None:
    """Hold one trunk against all laws: at init, with noise on what trains, after a step, and folded."""
    names = (first, second)
    vit = adapted(_stack(*names))
    _is_the_identity(vit, names)
    _trains_what_both_train(vit, names)
    shake_trainable(vit, seed=1)
    gradients_of_the_step = _equal_under_checkpointing(vit)
    _state_round_trips(vit, names)
    _step_moves_nothing_frozen(vit, gradients_of_the_step)
    _folding_changes_no_output(vit, names)
    if first != second and all(map(_commutes, names)):
        _order_does_not_matter(names)


@cache
def _plain_feature() -> Tensor:
    return tiny_vit()(clip())


@cache
def _trained_alone(name: str) -> dict[str, int]:
    """Sizes of the parameters that a method trains where it is alone."""
    return {key: p.numel() for key, p in trainable(adapted(METHODS[name])).items()}


def _is_the_identity(vit: VideoViT, names: tuple[str, str]) -> None:
    if (MOVES_AT_INIT | READERS) & {*names}:
        return
    tolerance = 1e-5 if {*names} & ROUNDS_AT_INIT else 0
    torch.testing.assert_close(
        vit(clip()), _plain_feature(), atol=tolerance, rtol=0
    )


def _trains_what_both_train(vit: VideoViT, names: tuple[str, str]) -> None:
    """In the trunk the union; beside it, each method's own parameters, none lost to a clash of names."""
    alone = [_trained_alone(name) for name in names]
    ours = trainable(vit)
    assert set(ours) & trunk_keys() == set().union(*alone) & trunk_keys()
    assert sum(
        p.numel() for key, p in ours.items() if key not in trunk_keys()
    ) == sum(
        size
        for one in alone
        for key, size in one.items()
        if key not in trunk_keys()
    )
    assert set(vit.owners) == set(ours)
    assert trunk_keys() <= vit.state_dict().keys()


def _equal_under_checkpointing(vit: VideoViT) -> dict[str, Tensor | None]:
    """Compare the gradients with and without recomputation; return those of the pass without."""
    vit.activation_checkpointing = True
    got = gradients(vit, clip())
    vit.activation_checkpointing = False
    expected = gradients(vit, clip())
    assert expected.keys() == got.keys()
    assert all(_same(expected[name], got[name]) for name in expected)
    return expected


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    return (
        first is second
        if first is None or second is None
        else torch.equal(first, second)
    )


def _state_round_trips(source: VideoViT, names: tuple[str, str]) -> None:
    target = adapted(_stack(*names), seed=7)
    own = trunk_keys() - trainable(source).keys()
    state = {
        key: value for key, value in source.state_dict().items() if key not in own
    }
    missing, unexpected = target.load_state_dict(state, strict=False)
    assert set(missing) == own
    assert not unexpected
    assert torch.equal(source(clip()), target(clip()))


def _step_moves_nothing_frozen(
    vit: VideoViT, of_step: dict[str, Tensor | None]
) -> None:
    assert any(gradient is not None for gradient in of_step.values())
    torch.optim.AdamW(vit.parameters(), lr=0.01, weight_decay=0.1).step()
    added = set(vit.state_dict()) - trunk_keys()
    assert not added & set(frozen(vit))
    plain = _plain_state()
    assert all(
        p.grad is None and torch.equal(p, plain[key])
        for key, p in frozen(vit).items()
    )


@cache
def _plain_state() -> dict[str, Tensor]:
    return tiny_vit().state_dict()


def _folding_changes_no_output(vit: VideoViT, names: tuple[str, str]) -> None:
    before = vit(clip()).detach()
    vit.fold()
    torch.testing.assert_close(vit(clip()).detach(), before, atol=1e-5, rtol=1e-5)
    if {*names} <= LINEAR_DELTAS:
        assert vit.state_dict().keys() == trunk_keys()


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
    shake(
        [p for key, p in sorted(trainable(vit).items()) if key in trunk_keys()],
        0.05,
    )
    return vit


def _commutes(name: str) -> bool:
    return all(
        part.commutes for adapter in METHODS[name] for part in adapter.parts()
    )


def _order_does_not_matter(names: tuple[str, str]) -> None:
    forth = _randomised_by_owner(names)
    back = _randomised_by_owner((names[1], names[0]))
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
