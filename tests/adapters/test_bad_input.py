"""Every wrong choice is one clear error, before anything trains."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch

from lightning_petl.adapters import (
    AIM,
    VPT,
    Adapter,
    AdaptFormer,
    BitFit,
    FullFineTuning,
    LinearProbe,
    LNTuning,
    LoRA,
    LvAdapter,
    MultiTuneV,
    Partial,
    STAdapter,
)
from lightning_petl.backbones import VideoViT
from tests.tiny import NAME, adapted, clip, tiny_vit

_CONSTRUCTORS: list[tuple[Callable[[], Adapter], str]] = [
    (lambda: LoRA(rank=0), "rank 0 must be above zero"),
    (lambda: LoRA(rank=-4), "rank -4 must be above zero"),
    (lambda: LoRA(alpha=0.0), r"alpha 0\.0 must be above zero"),
    (
        lambda: LoRA(targets=()),
        "targets is empty: choose any of q, k, v, o, fc1, fc2",
    ),
    (
        lambda: LoRA(fused="shared"),
        "fused: shared adapts q, k and v together; targets are q, v",
    ),
    (lambda: STAdapter(bottleneck=0), "bottleneck 0 must be above zero"),
    (lambda: STAdapter(kernel=(2, 1, 1)), r"kernel \(2, 1, 1\) must be odd"),
    (lambda: STAdapter(kernel=(3, 0, 1)), r"kernel \(3, 0, 1\) must be odd"),
    (lambda: STAdapter(sites=()), "sites is empty: choose attn, mlp or both"),
    (lambda: AdaptFormer(bottleneck=0), "bottleneck 0 must be above zero"),
    (lambda: LvAdapter(bottleneck=0), "bottleneck 0 must be above zero"),
    (lambda: LvAdapter(sites=()), "sites is empty: choose attn, mlp or both"),
    (lambda: VPT(num_prompts=0), "num_prompts 0 must be above zero"),
    (
        lambda: VPT(deep=False, blocks="last 1"),
        "shallow prompts pass through all blocks",
    ),
    (lambda: BitFit(targets=(), outside=False), "BitFit would train nothing"),
    (lambda: LoRA(targets=("q", "q")), "targets q, q name one twice"),
    (lambda: BitFit(targets=("k", "k")), "targets k, k name one twice"),
    (lambda: STAdapter(sites=("mlp", "mlp")), "sites mlp, mlp name one twice"),
    (lambda: LvAdapter(sites=("mlp", "mlp")), "sites mlp, mlp name one twice"),
]


@pytest.mark.parametrize(
    ("build", "message"),
    _CONSTRUCTORS,
    ids=[message for _, message in _CONSTRUCTORS],
)
def test_hyper_parameters(build: Callable[[], Adapter], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("rate", [-0.1, 1.5])
@pytest.mark.parametrize("method", [LoRA, AdaptFormer, VPT])
def test_dropout_is_a_probability(
    method: Callable[..., Adapter], rate: float
) -> None:
    with pytest.raises(
        ValueError, match="dropout probability has to be between 0 and 1"
    ):
        adapted([method(dropout=rate)])


@pytest.mark.parametrize(
    "blocks",
    [
        "some",
        "last",
        "last 0",
        "last 3",
        "first x",
        "first -1",
        "",
        "all 2",
        "last 1 2",
        "all ",
        [],
        [2],
        [-1],
        [0, 0],
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "method",
    [
        AIM,
        LoRA,
        STAdapter,
        AdaptFormer,
        VPT,
        LvAdapter,
        BitFit,
        LNTuning,
        Partial,
        MultiTuneV,
    ],
)
def test_blocks(method: Callable[..., Adapter], blocks: str | list[int]) -> None:
    with pytest.raises(
        ValueError,
        match=r"is not a choice of this trunk; valid: 'all', 'first k' or 'last k' with k in 1\.\.2",
    ):
        adapted([method(blocks=blocks)])


@pytest.mark.parametrize(
    ("blocks", "chosen"),
    [("all", [0, 1]), ("first 1", [0]), ("last 1", [1]), ([1, 0], [0, 1])],
)
def test_blocks_that_are_a_choice(
    blocks: str | list[int], chosen: list[int]
) -> None:
    vit = adapted([LoRA(rank=2, blocks=blocks)])
    assert sorted({int(name.split(".")[1]) for name in vit.owners}) == chosen


@pytest.mark.parametrize(
    "other",
    [STAdapter(bottleneck=8), BitFit(), LinearProbe(), FullFineTuning()],
    ids=str,
)
@pytest.mark.parametrize("alone", [LinearProbe(), FullFineTuning()], ids=str)
def test_what_stands_alone(alone: Adapter, other: Adapter) -> None:
    reason = (
        "twice with the same settings"
        if alone == other
        else "stands alone; in this stack it meets"
    )
    for stack in ([alone, other], [other, alone]):
        with pytest.raises(
            ValueError, match=rf"(LinearProbe|FullFineTuning) .*{reason}"
        ):
            adapted(stack)


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (LNTuning(blocks="last 1"), Partial(blocks="last 1")),
        (LNTuning(blocks="last 1", outside=False), Partial(blocks="all")),
        (BitFit(outside=False), Partial(blocks="all")),
        (BitFit(targets=("fc1",), outside=False), BitFit()),
        (Partial(blocks="last 1"), Partial(blocks="last 2")),
    ],
    ids=str,
)
def test_what_another_trains_already(inner: Adapter, outer: Adapter) -> None:
    for stack in ([inner, outer], [outer, inner]):
        with pytest.raises(
            ValueError,
            match=rf"{outer.name} already trains all that {inner.name} would: remove {inner.name}",
        ):
            adapted(stack)


def test_overlap_that_is_not_all_may_stack() -> None:
    vit = adapted([LNTuning(), Partial(blocks="last 1")])
    assert set(vit.owners.values()) == {"LNTuning", "Partial"}


@pytest.mark.parametrize(
    "other",
    [LoRA(rank=2), BitFit(targets=("v",), outside=False), LoRA(rank=2, dora=True)],
    ids=str,
)
def test_dora_shares_no_linear(other: Adapter) -> None:
    for stack in ([LoRA(dora=True), other], [other, LoRA(dora=True)]):
        with pytest.raises(
            ValueError, match="DoRA needs a linear layer for itself; this one has"
        ):
            adapted(stack)


def test_dora_beside_what_shares_no_linear() -> None:
    adapted([LoRA(dora=True), LoRA(targets=("fc1",)), BitFit(targets=("norm1",))])


def test_bias_that_the_trunk_lacks() -> None:
    """CLIP's patch embedding has none, which is no error; a named bias that is missing is."""
    vit = tiny_vit()
    vit.blocks[1].mlp.fc1.bias = None
    with pytest.raises(
        ValueError, match=r"BitFit: mlp\.fc1 of this trunk has no bias"
    ):
        list(BitFit().parameters(vit))


@pytest.mark.parametrize(
    ("name", "readout", "offered"),
    [
        (NAME, "map", "cls_mean_norm, norm_cls_mean, patch_mean, frames_concat"),
        (
            "vit_base_patch16_siglip_224",
            "cls_mean_norm",
            "patch_mean, map, frames_concat",
        ),
        (
            "vit_base_patch16_siglip_224",
            "norm_cls_mean",
            "patch_mean, map, frames_concat",
        ),
    ],
)
def test_readout_that_the_trunk_lacks(
    name: str, readout: str, offered: str
) -> None:
    with (
        torch.device("meta"),
        pytest.raises(
            ValueError,
            match=f"readout '{readout}' is not offered.*it has {offered}$",
        ),
    ):
        VideoViT(name, weights="random", readout=readout)


def test_clip_of_another_size() -> None:
    with pytest.raises(
        ValueError,
        match=r"clips are \(48, 48\) px, the trunk was built for \(32, 32\) px: set image_size",
    ):
        tiny_vit()(clip(size=48))


def test_image_that_no_patch_fits() -> None:
    with pytest.raises(
        ValueError, match="image_size 40 is not a multiple of the patch size 16"
    ):
        tiny_vit(image_size=40)


@pytest.mark.parametrize("frames", [0, -1])
def test_number_of_frames(frames: int) -> None:
    with pytest.raises(ValueError, match=f"num_frames {frames} must be above zero"):
        tiny_vit(num_frames=frames)


class _Idle(Adapter):
    def attach(self, vit: VideoViT) -> None: ...


def test_method_that_attaches_to_nothing() -> None:
    with pytest.raises(
        ValueError,
        match=rf"attaches to nothing in '{NAME}': it would train no parameter",
    ):
        adapted([LoRA(rank=2), _Idle()])


@pytest.mark.parametrize(
    "pixels",
    [torch.rand(1, 4, 3, 32, 32), torch.zeros(1, 4, 3, 32, 32, dtype=torch.int64)],
)
def test_clips_of_another_dtype_than_pixels_are_refused(
    pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be divided by 255 once more. Users have no checker of types in front, as the tests have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(
        ValueError,
        match=rf"clips of uint8 pixels, 0 to 255, and these are {pixels.dtype}",
    ):
        tiny_vit()(pixels)


def test_a_method_named_twice_is_refused_and_two_settings_are_not() -> None:
    with pytest.raises(
        ValueError,
        match=r"LoRA is in the stack twice with the same settings.*LoRA\(rank=2",
    ):
        adapted([LoRA(rank=2), BitFit(), LoRA(rank=2)])
    assert set(
        adapted([LoRA(rank=2), LoRA(rank=2, blocks="last 1")]).owners.values()
    ) == {"LoRA"}
