"""What learns, what must not, and what the frozen part keeps in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from lightning_petl.adapters import Adapter, LinearProbe, LoRA, STAdapter, attach
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import unreachable
from tests.laws.methods import DEAD, KINDS, METHODS
from tests.tiny import (
    adapted,
    clip,
    frozen,
    gradients,
    randomised,
    tiny_vit,
    trainable,
)

every_method = pytest.mark.parametrize("method", METHODS)
LEARNING = [name for name in METHODS if name != "linear_probe"]
every_readout = pytest.mark.parametrize(
    "readout", ["cls_mean_norm", "norm_cls_mean", "patch_mean", "frames_concat"]
)


def _step(
    optimizer: torch.optim.Optimizer, vit: VideoViT, seed: int
) -> dict[str, float]:
    """Take a step; return the largest gradient of every parameter."""
    grads = gradients(vit, clip(seed=seed))
    optimizer.step()
    return {
        name: 0.0 if grad is None else float(grad.abs().max())
        for name, grad in grads.items()
    }


@pytest.mark.parametrize(
    ("method", "readout"),
    [
        *product(LEARNING, ["norm_cls_mean", "patch_mean"]),
        *product(
            sorted({*LEARNING} & {*KINDS}), ["cls_mean_norm", "frames_concat"]
        ),
    ],
)
def test_three_steps_reach_all_but_the_unreachable(
    method: str, readout: str
) -> None:
    vit = adapted(METHODS[method], readout=readout).train()
    optimizer = torch.optim.AdamW(trainable(vit).values(), lr=1e-2)
    steps = [_step(optimizer, vit, seed) for seed in range(3)]
    still = {
        name for name in trainable(vit) if max(step[name] for step in steps) == 0
    }
    assert still == unreachable(vit)
    if readout == "patch_mean":
        assert still == DEAD.get(method, set())


def test_what_is_unreachable() -> None:
    """Behind the last attention only the class token is read; what acts on patches before it is not dead."""
    names = unreachable(adapted([STAdapter(bottleneck=8)]))
    assert {name.split(".")[3] for name in names} == {"before_mlp"}
    assert {name.split(".")[1] for name in names} == {"1"}
    assert len(names) == 6


@every_readout
def test_key_bias_gradient_is_rounding(readout: str) -> None:
    """A bias on all keys shifts every logit of a row alike, which softmax ignores."""
    vit = adapted(METHODS["bitfit"], readout=readout)
    bias = gradients(vit, clip())["blocks.0.attn.qkv.bias"]
    assert bias is not None
    query, key, value = bias.chunk(3)
    assert key.abs().max() < 1e-4 * min(query.abs().max(), value.abs().max())


@every_method
def test_gradients_equal_under_checkpointing(method: str) -> None:
    """Bit-equal in training, too: the recomputation draws the same dropout."""
    if method == "linear_probe":
        assert not trainable(adapted(METHODS[method]))
        return
    results: list[dict[str, Tensor | None]] = []
    for saving in (False, True):
        vit = randomised(METHODS[method], activation_checkpointing=saving).train()
        torch.manual_seed(0)
        results.append(gradients(vit, clip()))
    for name, expected in results[0].items():
        got = results[1][name]
        assert (expected is None and got is None) or torch.equal(expected, got), (
            name
        )


def test_checkpointing_keeps_less() -> None:
    kept = [
        _kept(randomised([LoRA(rank=2)], activation_checkpointing=saving))
        for saving in (False, True)
    ]
    assert kept[1] < kept[0] / 2


@contextmanager
def _count_kept() -> Iterator[dict[int, int]]:
    """Bytes of the distinct storages that the forward pass saves for the backward pass."""
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # keeps addresses from being used again

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = (
            tensor.untyped_storage().nbytes()
        )
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def _kept(vit: VideoViT) -> int:
    """Bytes kept, parameters aside."""
    weights = {p.untyped_storage().data_ptr() for p in vit.parameters()}
    with _count_kept() as kept:
        vit(clip())
    return sum(size for address, size in kept.items() if address not in weights)


@pytest.mark.parametrize(
    "stack",
    [
        [STAdapter(bottleneck=8, blocks="last 1")],
        [LoRA(rank=2, blocks="last 1")],
        METHODS["partial"],
    ],
    ids=["st_adapter", "lora", "partial"],
)
def test_frozen_prefix_keeps_nothing(stack: Sequence[Adapter]) -> None:
    """Frozen blocks below the first that learns add not a byte."""
    short, tall = (_kept(adapted(stack, depth=depth)) for depth in (1, 4))
    assert 0 < tall == short


def test_linear_probe_keeps_nothing() -> None:
    vit = adapted([LinearProbe()])
    assert _kept(vit) == 0
    assert not vit(clip()).requires_grad


def test_blocks_above_keep_activations() -> None:
    """The counter is not blind: what lies above the first thing that learns must be kept."""
    low, high = (
        _kept(adapted([LoRA(rank=2, blocks=[index])], depth=3)) for index in (0, 2)
    )
    assert low > 2 * high


def test_evaluation_keeps_nothing() -> None:
    vit = adapted(METHODS["multi_tunev"])
    with torch.no_grad():
        assert _kept(vit) == 0


def test_prefix_ends_at_the_first_thing_that_learns() -> None:
    expected = {
        "linear_probe": 3,
        "full_fine_tuning": 0,
        "bitfit": 0,
        "vpt_shallow": 0,
        "vpt_deep": 1,
        "vpt_last": 2,
    }
    expected |= {"aim": 0, "vpt_project": 1, "vpt_shallow_project": 0}
    assert {
        name: adapted(METHODS[name]).frozen_stages for name in expected
    } == expected


@pytest.mark.parametrize(
    "method",
    [
        "multi_tunev",
        "st_adapter",
        "lora_qv",
        "adapt_former",
        "bitfit",
        "vpt_deep",
        "side4video",
    ],
)
def test_overfits_eight_clips(method: str) -> None:
    assert _overfit(method, clip(batch=8), torch.arange(8) % 4) < 0.05


def _overfit(method: str, video: Tensor, label: Tensor) -> float:
    """Return the loss after at most 60 steps; fewer where it is small before."""
    vit = adapted(METHODS[method]).train()
    torch.manual_seed(0)
    head = nn.Linear(vit.feature_dim, int(label.max()) + 1)
    optimizer = torch.optim.AdamW(
        [*trainable(vit).values(), *head.parameters()], lr=5e-3
    )
    loss = torch.tensor(torch.inf)
    for _ in range(60):
        loss = nn.functional.cross_entropy(head(vit(video)), label)
        if loss < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_overfitting_needs_the_method() -> None:
    """The eight clips are no gift: the order of frames decides, and a frozen trunk cannot see it."""
    video, label = _forward_and_backward()
    assert _overfit("st_adapter", video, label) < 0.05
    assert _overfit("lora_qv", video, label) > 0.69  # ln 2 = 0.693: a coin


def _forward_and_backward() -> tuple[Tensor, Tensor]:
    forward = clip(batch=4)
    return torch.cat([forward, forward.flip(1)]), torch.tensor([0] * 4 + [1] * 4)


def test_attaching_twice_does_not_thaw() -> None:
    vit = tiny_vit()
    before = len(frozen(vit))
    attach(vit, [LoRA(rank=2)])
    assert len(frozen(vit)) == before
