"""On every kind of trunk: nothing that a method brings is dark, and the cheap laws hold."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from lightning_petl.adapters import VPT, LoRA, attach
from lightning_petl.adapters.layers.bottleneck import Bottleneck
from lightning_petl.adapters.lora import LoRADelta
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.block import SLOTS
from lightning_petl.backbones.reachability import unreachable
from tests.families import EVA, FAMILIES, toy_vit
from tests.laws.methods import COUNTS, METHODS, MOVES_AT_INIT, ROUNDS_AT_INIT
from tests.tiny import clip, frozen, gradients, shake, trainable

every_family = pytest.mark.parametrize("name", FAMILIES)
TARGETS = ("q", "k", "v", "o", "fc1", "fc2")
THREE = [
    "eva02_base_patch16_clip_224",
    "eva02_tiny_patch14_224",
    "eva02_enormous_patch14_clip_224",
]
CHECKED = [
    "partial",
    "ln_tuning",
    "bitfit",
    "vpt_shallow",
    "vpt_deep",
    "lora_all_dropout",
    "dora",
    "lv_adapter_both_sites",
    "st_adapter",
    "adapt_former",
    "aim_two_temporal",
    "multi_tunev",
]
every_method_on_eva = pytest.mark.parametrize(
    ("name", "method"), list(product(THREE, CHECKED))
)


def _changed(vit: VideoViT, reference: Tensor) -> float:
    return (vit(clip(batch=1)) - reference).abs().max().item()


def _noisy(dim: int) -> Bottleneck:
    module = Bottleneck(dim, 4)
    shake(module.parameters(), 0.1)
    return module


def _linears(vit: VideoViT) -> Iterator[tuple[int, str]]:
    for index, block in enumerate(vit.blocks):
        yield from (
            (index, path)
            for path, module in list(block.named_modules())
            if isinstance(module, nn.Linear)
        )


@every_family
def test_a_delta_on_any_linear_changes_the_feature(name: str) -> None:
    vit = toy_vit(name)
    reference = vit(clip(batch=1))
    paths = list(_linears(vit))
    assert len(paths) == len(vit.blocks) * len({path for _, path in paths}) >= 8
    for index, path in paths:
        linear = vit.blocks[index].linear(path)
        delta = LoRADelta(linear, [0], 1, LoRA(rank=2))
        shake(delta.parameters(), 0.1)
        linear.add_delta("LoRA", delta)
        assert _changed(vit, reference) > 1e-4, f"blocks.{index}.{path}"
        del linear.deltas["LoRA"]
        assert _changed(vit, reference) == 0


@every_family
def test_lora_on_any_target_changes_the_feature(name: str) -> None:
    reference = toy_vit(name)(clip(batch=1))
    for number, target in enumerate(TARGETS):
        vit = toy_vit(name)
        attach(vit, [LoRA(rank=2, targets=(target,), blocks=[number % 2])])
        assert _changed(vit, reference) == 0, target
        shake(trainable(vit).values(), 0.1)
        assert _changed(vit, reference) > 1e-4, target


@every_family
def test_a_module_in_any_slot_changes_the_feature(name: str) -> None:
    vit = toy_vit(name)
    reference = vit(clip(batch=1))
    for index, block in enumerate(vit.blocks):
        for slot in SLOTS:
            module = _noisy(vit.dim)
            block.add(slot, "module", module)
            assert _changed(vit, reference) > 1e-4, f"blocks.{index}.{slot}"
            del block.slots[slot]["module"]


@every_family
def test_any_prompt_changes_the_feature(name: str) -> None:
    reference = toy_vit(name)(clip(batch=1))
    for method in (VPT(blocks=[0]), VPT(blocks=[1]), VPT(deep=False)):
        vit = toy_vit(name)
        attach(vit, [method])
        before = vit(clip(batch=1))
        assert (before - reference).abs().max() > 1e-4
        shake(trainable(vit).values(), 0.5)
        assert _changed(vit, before) > 1e-4


@every_family
def test_what_enters_with_the_positions_changes_the_feature(name: str) -> None:
    vit = toy_vit(name)
    reference = vit(clip(batch=1))
    vit.add_entry("module", _noisy(vit.dim))
    assert _changed(vit, reference) > 1e-4


def _adapted(
    name: str, method: str, noise: float = 0.0, **options: object
) -> VideoViT:
    vit = toy_vit(name, **options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attach(vit, METHODS[method])
        shake(trainable(vit).values(), noise)
    return vit.eval()


@every_method_on_eva
def test_identity_at_init(name: str, method: str) -> None:
    expected, ours = toy_vit(name)(clip()), _adapted(name, method)(clip())
    tolerance = 1e-5 if method in ROUNDS_AT_INIT else 0
    if method in MOVES_AT_INIT:
        assert (expected - ours).abs().max() > 1e-3
    else:
        torch.testing.assert_close(ours, expected, atol=tolerance, rtol=0)


@every_method_on_eva
def test_keys_and_values_of_the_trunk_stay(name: str, method: str) -> None:
    plain, ours = toy_vit(name).state_dict(), _adapted(name, method).state_dict()
    assert plain.keys() <= ours.keys()
    assert all(torch.equal(plain[key], ours[key]) for key in plain)


@every_method_on_eva
def test_folding_changes_no_output(name: str, method: str) -> None:
    vit = _adapted(name, method, noise=0.05)
    before = vit(clip()).detach()
    vit.fold()
    torch.testing.assert_close(vit(clip()), before, atol=1e-5, rtol=1e-5)
    assert not any("deltas" in key for key in vit.state_dict())


@every_method_on_eva
def test_three_steps_reach_all_but_the_unreachable(name: str, method: str) -> None:
    vit = _adapted(name, method).train()
    optimizer = torch.optim.AdamW(trainable(vit).values(), lr=1e-2)
    before = {key: p.clone() for key, p in frozen(vit).items()}
    seen = dict.fromkeys(trainable(vit), 0.0)
    for seed in range(3):
        for key, grad in gradients(vit, clip(seed=seed)).items():
            seen[key] += 0.0 if grad is None else grad.abs().sum().item()
        optimizer.step()
    assert {key for key, total in seen.items() if total == 0} == unreachable(vit)
    assert all(
        p.grad is None and torch.equal(p, before[key])
        for key, p in frozen(vit).items()
    )


@every_method_on_eva
def test_gradients_equal_under_checkpointing(name: str, method: str) -> None:
    results: list[dict[str, Tensor | None]] = []
    for saving in (False, True):
        vit = _adapted(name, method, noise=0.05, activation_checkpointing=saving)
        results.append(gradients(vit, clip()))
    for key, expected in results[0].items():
        got = results[1][key]
        assert (expected is None and got is None) or torch.equal(expected, got), key


SAME_COUNT = [
    "linear_probe",
    "vpt_shallow",
    "vpt_deep",
    "lora_qv",
    "lora_o",
    "st_adapter",
    "adapt_former",
]


@pytest.mark.parametrize("name", EVA)
@pytest.mark.parametrize("method", SAME_COUNT)
def test_count_equals_closed_form(name: str, method: str) -> None:
    """What depends on the width alone counts as in a ViT of that width."""
    assert (
        sum(p.numel() for p in trainable(_adapted(name, method)).values())
        == COUNTS[method]
    )


def _count(name: str, method: str) -> int:
    return sum(p.numel() for p in trainable(_adapted(name, method)).values())


def test_counts_of_biases_and_norms() -> None:
    """Keys have no bias; SwiGLU has two first layers of 512, and the inner norms count as norms of their branch."""
    d, f, g = 192, 768, 512
    assert (
        _count("eva02_enormous_patch14_clip_224", "bitfit")
        == 2 * (3 * d + f + d + 2 * d) + 2 * d
    )
    assert (
        _count("eva02_base_patch16_clip_224", "bitfit")
        == 2 * (3 * d + 2 * g + d + 2 * d + d + g) + 2 * d
    )
    assert (
        _count("eva02_enormous_patch14_clip_224", "ln_tuning") == 2 * 4 * d + 2 * d
    )
    assert (
        _count("eva02_base_patch16_clip_224", "ln_tuning")
        == 2 * 2 * (2 * d + d + g) + 2 * d
    )
