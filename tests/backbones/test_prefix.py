"""Whatever trains, the features of the kept prefix are those of the whole trunk."""

import pytest
import torch

from lightning_petl.adapters import (
    STEP,
    Adapter,
    AttentiveProbe,
    BitFit,
    LinearProbe,
    LNTuning,
    LoRA,
    MAdapter,
    Partial,
    Side4Video,
    STAdapter,
    attach,
)  # fmt: skip
from lightning_petl.backbones.prefix import (
    features_from,
    identity,
    needed,
    offered,
    prefix,
    require,
)
from tests.tiny import clip, randomised, shake, tiny_vit, trainable

STACKS: dict[str, tuple[list[Adapter], list[str]]] = {
    "head": ([LinearProbe()], ["feature"]),
    "side": (
        [Side4Video(width=64)],
        ["block.0", "block.1", "block.2", "block.3", "pixels"],
    ),
    "light": ([Side4Video(width=64, taps="odd")], ["block.1", "block.3", "pixels"]),
    "probe": ([AttentiveProbe(blocks=1)], ["block.3"]),
    "frames in order": ([STEP(taps=[1, 3])], ["block.1", "block.3"]),
    "two readers": (
        [Side4Video(width=192, taps=[0]), AttentiveProbe(blocks=1)],
        ["block.0", "block.3", "pixels"],
    ),
    "late": ([LoRA(rank=2, blocks="last 1")], ["block.2"]),
    "later than a tap": (
        [LoRA(rank=2, blocks=[2]), MAdapter(width=64, taps=[0, 2])],
        ["block.0", "block.1"],
    ),
    "first": ([LoRA(rank=2)], ["embedding"]),
    "partial": ([Partial(blocks="last 2")], ["block.1"]),
    "slots": ([STAdapter(bottleneck=8, blocks="last 2")], ["block.1"]),
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_kept_parts_give_the_features_and_gradients_of_the_whole(
    stack: str, mode: str
) -> None:
    adapters, names = STACKS[stack]
    vit = randomised(adapters, depth=4).train(mode == "train")
    assert needed(vit) == names
    for block in vit.blocks[: vit.frozen_stages - 1]:
        block.register_forward_hook(lambda *_: ran.append(1))
    ran: list[int] = []
    parts = prefix(vit, clip())
    assert set(parts) == set(names)
    assert not any(part.requires_grad for part in parts.values())
    ran.clear()
    weights = torch.linspace(-1, 1, vit.feature_dim)
    kept = features_from(vit, parts)
    assert not ran
    live = vit(clip())
    assert torch.equal(kept, live)
    if live.requires_grad:
        ours = torch.autograd.grad(
            (kept * weights).sum(), list(trainable(vit).values()), allow_unused=True
        )
        theirs = torch.autograd.grad(
            (live * weights).sum(), list(trainable(vit).values()), allow_unused=True
        )
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "eva02_tiny_patch14_224", "vit_base_patch16_clip_224"],
)
def test_other_families_in_half_precision(name: str) -> None:
    size = 28 if "patch14" in name else 32
    vit = randomised(
        [LoRA(rank=2, blocks="last 1")],
        name=name,
        depth=3,
        image_size=size,
        frozen_dtype="bfloat16",
    )
    assert torch.equal(
        features_from(vit, prefix(vit, clip(size=size))), vit(clip(size=size))
    )


def test_a_trained_final_norm_keeps_tokens() -> None:
    vit = tiny_vit()
    vit.norm.requires_grad_(True)
    assert needed(vit) == ["block.1"]
    assert torch.equal(features_from(vit, prefix(vit, clip())), vit(clip()))


def test_what_is_offered_and_kept_beyond_need() -> None:
    vit = randomised([LoRA(rank=2, blocks="last 1")], depth=3)
    assert offered(vit) == ["embedding", "block.0", "block.1", "pixels"]
    parts = prefix(vit, clip(), offered(vit))
    assert list(parts) == ["pixels", "embedding", "block.0", "block.1"]
    assert torch.equal(features_from(vit, parts), vit(clip()))
    assert offered(randomised([Side4Video(width=64)])) == [
        "embedding",
        "block.0",
        "block.1",
        "feature",
        "pixels",
    ]


def test_nothing_frozen_is_refused() -> None:
    vit = randomised([BitFit()])
    with pytest.raises(
        ValueError, match="BitFit trains in front of the first block"
    ):
        needed(vit)


def test_missing_parts_are_named() -> None:
    light, late = (
        randomised([Side4Video(width=64)], depth=4),
        randomised([LoRA(rank=2, blocks="last 2")], depth=4),
    )
    with pytest.raises(
        ValueError,
        match=r"lacks block\.0, block\.2, which this stack needs; it holds block\.1",
    ):
        require(light, ["block.1", "block.3", "pixels"])
    with pytest.raises(
        ValueError,
        match=r"begins at block\.2, but something trains below that cut, in block 2",
    ):
        require(late, ["block.2"])
    require(late, ["block.0", "block.1", "pixels"])


def test_the_identity_sees_weights_and_size() -> None:
    one, other = tiny_vit(), tiny_vit(seed=1, image_size=48)
    assert {
        key
        for key, value in identity(one, ["block.1"]).items()
        if identity(other, [])[key] != value
    } <= {
        "weights",
        "image_size",
    }
    assert "readout" in identity(one, ["feature"])
    assert "readout" not in identity(one, ["block.1"])


def test_a_frozen_stack_member_trains_nothing_in_the_prefix() -> None:
    vit = tiny_vit(depth=3)
    attach(vit, [LNTuning()])
    shake(trainable(vit).values(), 0.01)
    assert torch.equal(features_from(vit, prefix(vit, clip())), vit(clip()))
