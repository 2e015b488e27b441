"""M-adapter: counts and bytes in closed form, its equations written out, its hierarchy, what it refuses."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_petl.adapters import LoRA, MAdapter, attach
from lightning_petl.adapters.m_adapter import TreeLevel, level_indices
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import unreachable
from lightning_petl.cost.saved_memory import (
    Saved,
    saved_bytes,
    saved_bytes_per_clip,
)
from lightning_petl.shapes import Grid
from tests.families import toy_vit
from tests.tiny import adapted, clip, gradients, randomised, trainable

B16, L14 = (
    f"vit_{name}_clip_quickgelu_224.openai"
    for name in ("base_patch16", "large_patch14")
)
CLASSES = 174


def _on_meta(name: str, recipe: MAdapter) -> VideoViT:
    with torch.device("meta"):
        vit = VideoViT(name, weights="random")
        attach(vit, [recipe])
    return vit.train()


@pytest.mark.parametrize(
    ("name", "width", "taps", "count"),
    [
        (B16, 128, "all", 1_826_746), (B16, 256, "all", 4_814_522), (B16, 384, "all", 8_981_946),
        (B16, 256, "odd", 2_429_876), (B16, 256, "quarters", 1_634_994), (L14, 256, "all", 11_168_966),
        (L14, 384, "all", 20_267_718), (L14, 384, "odd", 10_167_738), (L14, 256, "quarters", 1_899_186),
    ],
)  # fmt: skip
@pytest.mark.parametrize("combine", ["chain", "parallel"])
def test_counts(name: str, width: int, taps: str, count: int, combine: str) -> None:
    """With a head of 174 classes; equal shares of parallel levels count as the gates of a chain."""
    vit = _on_meta(name, MAdapter(width=width, taps=taps, combine=combine))
    assert (
        sum(p.numel() for p in trainable(vit).values()) + (width + 1) * CLASSES
        == count
    )


@pytest.mark.parametrize("levels", range(1, 14))
def test_a_tree_of_m_levels_has_m_minus_one_modules(levels: int) -> None:
    assert (
        sum(TreeLevel.count(index, levels) for index in range(levels)) == levels - 1
    )


def test_quarters() -> None:
    assert level_indices("quarters", 12) == [2, 5, 8, 11]
    assert level_indices("quarters", 24) == [5, 11, 17, 23]
    assert level_indices("quarters", 6) == [0, 2, 3, 5]
    with pytest.raises(ValueError, match="needs 4 blocks or more; the trunk has 2"):
        level_indices("quarters", 2)


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias)


def _unit(unit: nn.Module, level: Tensor, branch: Tensor | None) -> Tensor:
    """The equations of one M-adapter with the convolution as a sum of three frames."""
    h = level
    if branch is not None:
        g = 1 / (1 + torch.exp(-unit.gate / 0.1))
        h = g * branch + (1 - g) * level
    fusion, temporal = unit.parts["fusion"], unit.parts["temporal"]
    f = h + fusion.fc2(F.gelu(fusion.fc1(_norm(unit.norms["fusion"], h))))
    x = temporal.down(_norm(unit.norms["temporal"], f))
    w = temporal.mix.weight[:, 0, :, 0]
    y = temporal.mix.bias + w[:, 1] * x
    y[:, 1:] += w[:, 0] * x[:, :-1]
    y[:, :-1] += w[:, 2] * x[:, 1:]
    return f + temporal.up(y)


def _pairwise(items: list[Tensor], units: list[list[nn.Module]]) -> Tensor:
    """Stage by stage: neighbours meet, one that is left over goes on to the next stage.

    ``units[m]`` are those that run behind level m; the last level below a pair says which of them it is.
    """
    spans = [(item, index) for index, item in enumerate(items)]
    queues = [list(of_level) for of_level in units]
    while len(spans) > 1:
        paired = []
        for left, right in zip(spans[::2], spans[1::2]):  # noqa: B905
            paired.append(
                (_unit(queues[right[1]].pop(0), right[0], left[0]), right[1])
            )
        spans = paired + spans[len(spans) - len(spans) % 2 :]
    return spans[0][0]


def _written_out(vit: VideoViT, video: Tensor, combine: str, pool: str) -> Tensor:
    branch, levels = vit.readers["MAdapter"], []
    z = vit.embed((video.float() / 255 - vit.pixel_mean) / vit.pixel_std)
    for index, block in enumerate(vit.blocks):
        z = block(z, vit.grid)
        if str(index) in branch.taps:
            tap = branch.taps[str(index)].tap
            levels.append(
                tap.linear(_norm(tap.norm, z)).unflatten(0, video.shape[:2])
            )
    units = [list(level.units) for level in branch.taps.values()]
    if combine == "tree":
        s = _pairwise(levels, units)
    elif combine == "parallel":
        shares = branch.shares.exp() / branch.shares.exp().sum()
        s = sum(
            share * _unit(unit, u, None)
            for share, u, (unit,) in zip(shares, levels, units, strict=True)
        )
    else:
        s = None
        for u, (unit,) in zip(levels, units, strict=True):
            s = _unit(unit, u, s)
    y = _norm(branch.norm, s)
    cls, patches = y[:, :, 0].mean(1), y[:, :, 1:].mean((1, 2))
    return {"cls": cls, "gap": patches, "both": (cls + patches) / 2}[pool]


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 7])
@pytest.mark.parametrize(
    ("combine", "pool"), [("chain", "both"), ("tree", "gap"), ("parallel", "cls")]
)
def test_written_out(combine: str, pool: str, depth: int) -> None:
    vit = randomised([MAdapter(width=16, combine=combine, pool=pool)], depth=depth)
    expected = _written_out(vit, clip(), combine, pool)
    torch.testing.assert_close(vit(clip()), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("temporal", ["dwconv", "attention", "shift"])
@pytest.mark.parametrize("combine", ["chain", "tree", "parallel"])
def test_time_is_seen_once_it_has_learned(temporal: str, combine: str) -> None:
    """At init no frame sees another; then reversed time is another clip, and one frame is a clip, too."""
    recipe = MAdapter(width=64, temporal=temporal, combine=combine)
    blind, seeing = adapted([recipe]), randomised([recipe])
    torch.testing.assert_close(
        blind(clip().flip(1)), blind(clip()), atol=1e-5, rtol=1e-5
    )
    assert (seeing(clip().flip(1)) - seeing(clip())).abs().max() > 1e-3
    assert seeing(clip(frames=1)).isfinite().all()


def test_initial_gates_and_shares() -> None:
    chain, parallel = (
        adapted([MAdapter(width=64, combine=c)]).readers["MAdapter"]
        for c in ("chain", "parallel")
    )
    assert all(not level.units[0].gate.any() for level in chain.taps.values())
    assert parallel.begin(clip().float(), Grid(4, 2, 2, 1)).shares.tolist() == [
        0.5,
        0.5,
    ]
    assert not chain.taps["0"].units[0].parts["temporal"].up.weight.any()


@pytest.mark.parametrize("pool", ["cls", "gap", "both"])
def test_only_pooled_rows_are_read(pool: str) -> None:
    """Registers are no patches; tokens of the branch never meet, so that it need not carry the others."""
    vit = toy_vit("vit_small_patch14_reg4_dinov2")
    attach(vit, [MAdapter(width=64, pool=pool)])
    seen: list[Tensor] = []
    vit.readers["MAdapter"].taps["0"].tap.register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    vit(clip())
    assert seen[0].shape[1] == {"cls": 1, "gap": 4, "both": 5}[pool]


def test_a_trunk_without_class_token_is_pooled_over_patches() -> None:
    name = "vit_medium_patch16_rope_reg1_gap_256"
    with pytest.raises(
        ValueError, match=r"pool 'both' reads the class token; .* take pool 'gap'"
    ):
        attach(toy_vit(name), [MAdapter(width=64)])
    vit = toy_vit(name)
    attach(vit, [MAdapter(width=64, pool="gap")])
    assert vit(clip()).shape == (2, 64)


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"bottleneck": 0},
        {"checkpoint": ("fusion", "fusion")},
        {"width": 1},
    ],
    ids=str,
)
def test_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be above zero|name one twice"):
        MAdapter(**options)


SAVINGS = [
    {"save_memory": False},
    *(
        {"checkpoint": c}
        for c in [("fusion",), ("temporal",), ("fusion", "temporal")]
    ),
]


@pytest.mark.parametrize("saving", SAVINGS, ids=str)
@pytest.mark.parametrize("combine", ["chain", "tree", "parallel"])
def test_savings_change_nothing(combine: str, saving: dict[str, Any]) -> None:
    """In-backbone gradients, too: what is standardised passes them on."""
    base, saved = (
        randomised(
            [LoRA(rank=2), MAdapter(width=64, combine=combine, **options)], depth=3
        )
        for options in ({}, saving)
    )
    tolerance = (
        {"atol": 0, "rtol": 0}
        if "checkpoint" in saving
        else {"atol": 1e-5, "rtol": 1e-4}
    )
    expected = gradients(base, clip())
    for name, gradient in gradients(saved, clip()).items():
        torch.testing.assert_close(gradient, expected[name], **tolerance)
    torch.testing.assert_close(saved(clip()), base(clip()), **tolerance)


def _bytes(recipe: MAdapter, *, half: bool, depth: int | None = None) -> Saved:
    with torch.device("meta"):
        vit = VideoViT(B16, weights="random", depth=depth)
        attach(vit, [recipe])

    def run(clips: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return vit.features(torch.empty(clips, 8, 3, 224, 224))

    with FakeTensorMode(allow_non_fake_inputs=True):
        vit.to_empty(device="cpu")
        return saved_bytes_per_clip(
            run, recomputed=vit.readers["MAdapter"].recomputed
        )


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
def test_bytes_a_clip(half: bool) -> None:
    """A level keeps the standardised tokens of three norms, one over the std of two (the trunk's tokens need none), the
    gate's difference (not the first one), both sides of GELU and of the convolution; the end keeps one norm more."""
    d, r, size, tokens = 256, 128, 2 if half else 4, 8 * 197
    level = size * (768 + d + d + d + d + r + r) + 2 * 4
    expected = tokens * (12 * level + 11 * size * d + size * d + 4)
    assert _bytes(MAdapter(), half=half).kept == expected
    checkpointed = _bytes(MAdapter(checkpoint=("fusion",)), half=half)
    assert checkpointed.kept == expected - tokens * 12 * 2 * size * d
    assert checkpointed.recomputed == tokens * 2 * size * d


def test_blocks_that_are_not_tapped_add_nothing() -> None:
    taps = MAdapter(taps=[0, 1])
    assert _bytes(taps, half=True, depth=2) == _bytes(taps, half=True, depth=5)


def test_keeps_no_tokens_of_the_trunk() -> None:
    """The trunk's tokens are gone when their tap is done: what is saved was standardised."""
    vit = adapted([MAdapter(width=64)])
    tokens: list[Tensor] = []
    for block in vit.blocks:
        block.register_forward_hook(lambda *args: tokens.append(args[-1]))
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t) or t, lambda t: t
    ):
        vit(clip())
    assert not {t.untyped_storage().data_ptr() for t in tokens} & {
        t.untyped_storage().data_ptr() for t in saved
    }
    trunk = {
        id(p)
        for name, p in vit.named_parameters()
        if not name.startswith("readers.")
    }
    assert not trunk & {id(t) for t in saved}


def test_lora_below_a_tap_learns_and_above_it_does_not() -> None:
    vit = randomised([LoRA(rank=2), MAdapter(width=64, taps=[0, 1])], depth=3)
    grads = {
        name: grad
        for name, grad in gradients(vit, clip()).items()
        if "LoRA" in name
    }
    reached = {
        name for name, grad in grads.items() if grad is not None and grad.any()
    }
    assert reached == {name for name in grads if not name.startswith("blocks.2.")}
    assert unreachable(vit) == set(grads) - reached | {
        "readers.MAdapter.taps.0.units.0.gate"
    }
    assert vit.frozen_stages == 1
    assert (
        saved_bytes(lambda: vit(clip())).kept
        > saved_bytes(lambda: adapted([MAdapter(width=64)])(clip())).kept
    )
