"""The cheap laws, over every method in every setting."""

import re

import pytest
import torch

from tests.laws.methods import (
    COUNTS,
    LINEAR_DELTAS,
    METHODS,
    MOVES_AT_INIT,
    READERS,
    ROUNDS_AT_INIT,
    TRAINS_IN_TRUNK,
)
from tests.tiny import (
    adapted,
    clip,
    frozen,
    gradients,
    randomised,
    tiny_vit,
    trainable,
    trunk_keys,
)

WHERE_METHODS_LIE = ("entry", "slots", "prompts", "deltas", "readers", "shared")
every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_identity_at_init(method: str) -> None:
    video, vit = clip(), adapted(METHODS[method])
    if method in READERS:
        vit.readers.clear()  # the trunk beneath
    plain, ours = tiny_vit()(video), vit(video)
    if method in MOVES_AT_INIT:
        assert (
            plain - ours
        ).abs().max() > 1e-3  # a declared exception that is none should go
    elif method in ROUNDS_AT_INIT:
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)
    else:
        assert torch.equal(plain, ours)


@every_method
def test_only_declared_parameters_train(method: str) -> None:
    vit = adapted(METHODS[method])
    names = set(trainable(vit))
    pattern = TRAINS_IN_TRUNK.get(method, r"(?!)")
    assert names & trunk_keys() == {
        name for name in trunk_keys() if re.fullmatch(pattern, name)
    }
    added = {name for name, _ in vit.named_parameters()} - trunk_keys()
    assert added <= names  # nothing that a method brings is frozen
    assert set(vit.owners) == names


@every_method
def test_count_equals_closed_form(method: str) -> None:
    assert (
        sum(p.numel() for p in trainable(adapted(METHODS[method])).values())
        == COUNTS[method]
    )


@every_method
def test_trunk_keys_and_values_stay(method: str) -> None:
    plain, ours = tiny_vit().state_dict(), adapted(METHODS[method]).state_dict()
    assert plain.keys() <= ours.keys()
    assert all(torch.equal(plain[key], ours[key]) for key in plain)


@every_method
def test_frozen_weights_have_no_gradient_and_do_not_move(method: str) -> None:
    vit = randomised(METHODS[method])
    before = {name: p.clone() for name, p in frozen(vit).items()}
    if trainable(vit):
        gradients(vit, clip())
        torch.optim.AdamW(vit.parameters(), lr=0.1, weight_decay=0.1).step()
    after = frozen(vit)
    assert all(
        after[name].grad is None and torch.equal(after[name], before[name])
        for name in before
    )


@every_method
def test_own_state_round_trips(method: str) -> None:
    source, target = (
        randomised(METHODS[method], seed=3),
        adapted(METHODS[method], seed=7),
    )
    own = trunk_keys() - trainable(source).keys()
    state = {
        key: value for key, value in source.state_dict().items() if key not in own
    }
    missing, unexpected = target.load_state_dict(state, strict=False)
    assert set(missing) == own
    assert not unexpected
    assert torch.equal(source(clip()), target(clip()))


@every_method
def test_folding_changes_no_output(method: str) -> None:
    vit = randomised(METHODS[method])
    before = vit(clip()).detach()
    vit.fold()
    torch.testing.assert_close(vit(clip()).detach(), before, atol=1e-5, rtol=1e-5)
    assert not any("deltas" in key for key in vit.state_dict())
    if method in LINEAR_DELTAS:
        assert vit.state_dict().keys() == trunk_keys()


@pytest.mark.parametrize("method", sorted(LINEAR_DELTAS))
def test_folding_moves_the_weights(method: str) -> None:
    """Without this a fold that drops the delta would pass where the delta is small."""
    vit = randomised(METHODS[method])
    change = (vit(clip()) - tiny_vit()(clip())).abs().max()
    # softmax ignores b_k, and no other row of q, k and v
    assert change < 1e-5 if method == "bitfit_k" else change > 1e-3


@every_method
def test_dropout_is_the_only_randomness(method: str) -> None:
    vit = randomised(METHODS[method]).train()
    first, second = vit(clip()), vit(clip())
    dropout = any(
        isinstance(m, torch.nn.Dropout) and m.p > 0 for m in vit.modules()
    )
    assert torch.equal(first, second) != dropout


@every_method
def test_trunk_stays_in_eval(method: str) -> None:
    vit = adapted(METHODS[method]).train()
    for name, module in list(vit.named_modules())[
        1:
    ]:  # the trunk itself keeps the mode that it was given
        parameters = list(module.parameters())
        of_method = any(part in name.split(".") for part in WHERE_METHODS_LIE)
        if not of_method and not any(p.requires_grad for p in parameters):
            assert not module.training, name
        if of_method and isinstance(module, torch.nn.Dropout):
            assert module.training, name
