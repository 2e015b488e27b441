"""What is measured: trunks, and beside each of them every method in its published setting."""

from collections.abc import Callable
from dataclasses import dataclass

from lightning_petl.adapters import (
    AIM,
    STEP,
    VPT,
    Adapter,
    AdaptFormer,
    AttentiveProbe,
    BitFit,
    FullFineTuning,
    LinearProbe,
    LNTuning,
    LoRA,
    LvAdapter,
    MAdapter,
    MultiTuneV,
    Partial,
    Side4Video,
    STAdapter,
)


@dataclass(frozen=True)
class Trunk:
    """A timm trunk, the clips of a step on a GPU, and the widths that papers take beside it."""

    label: str
    name: str
    device_batch: int
    side: int
    light: int
    branch: int
    image_size: int = 224
    depth: int | None = None
    num_frames: int = 8


B16 = Trunk(
    "ViT-B/16",
    "vit_base_patch16_clip_quickgelu_224.openai",
    32,
    side=320,
    light=192,
    branch=256,
)
L14 = Trunk(
    "ViT-L/14",
    "vit_large_patch14_clip_quickgelu_224.openai",
    16,
    side=512,
    light=320,
    branch=384,
)
E14 = Trunk(
    "ViT-E/14",
    "eva02_enormous_patch14_clip_224",
    4,
    side=576,
    light=576,
    branch=384,
)
TINY = Trunk(
    "tiny",
    "vit_tiny_patch16_224",
    2,
    side=64,
    light=64,
    branch=64,
    image_size=32,
    depth=2,
    num_frames=2,
)

AIM_ROW, LIGHT, FULL = "AIM", "Side4Video light", "Side4Video"
PLAIN = ", nothing recomputed"

ROWS: dict[str, Callable[[Trunk], Adapter]] = {
    "linear probe": lambda _: LinearProbe(),
    "attentive probe, MLPs recomputed": lambda trunk: AttentiveProbe(
        heads=_heads(trunk), checkpoint=("mlp",)
    ),
    "STEP": lambda trunk: STEP(heads=_heads(trunk)),
    "attentive probe": lambda trunk: AttentiveProbe(heads=_heads(trunk)),
    "M-adapter, fusion recomputed": lambda trunk: MAdapter(
        width=trunk.branch, checkpoint=("fusion",)
    ),
    "M-adapter": lambda trunk: MAdapter(width=trunk.branch),
    LIGHT: lambda trunk: Side4Video(
        width=trunk.light, taps="odd", checkpoint=("mlp",)
    ),
    LIGHT + PLAIN: lambda trunk: Side4Video(width=trunk.light, taps="odd"),
    LIGHT + ", as released": lambda trunk: Side4Video(
        width=trunk.light, taps="odd", save_memory=False
    ),
    FULL: lambda trunk: Side4Video(width=trunk.side, checkpoint=("mlp",)),
    FULL + PLAIN: lambda trunk: Side4Video(width=trunk.side),
    FULL + ", as released": lambda trunk: Side4Video(
        width=trunk.side, save_memory=False
    ),
    "partial, last block": lambda _: Partial(),
    "BitFit": lambda _: BitFit(),
    "LayerNorm tuning": lambda _: LNTuning(),
    "VPT-shallow, 50 prompts": lambda _: VPT(num_prompts=50, deep=False),
    "VPT-deep, 50 prompts": lambda _: VPT(num_prompts=50),
    "LoRA on q and v, rank 8": lambda _: LoRA(),
    "DoRA on q, k and v": lambda _: LoRA(
        targets=("q", "k", "v"), fused="shared", dora=True
    ),
    "Lv-Adapter": lambda _: LvAdapter(),
    "AdaptFormer, width 64": lambda _: AdaptFormer(),
    "ST-Adapter": lambda _: STAdapter(),
    "Multi-TuneV": lambda _: MultiTuneV(),
    AIM_ROW: lambda _: AIM(),
    AIM_ROW + ", two temporal adapters": lambda _: AIM(temporal_adapters=2),
    "full fine-tuning": lambda _: FullFineTuning(),
}
EVA_ROWS: dict[str, Callable[[Trunk], Adapter]] = {
    "Side4Video's EVA form": lambda trunk: Side4Video(
        width=trunk.side, taps="odd", form="eva", checkpoint=("conv", "attn", "mlp")
    )
}


def rows(trunk: Trunk) -> dict[str, Callable[[Trunk], Adapter]]:
    """The methods beside a trunk; the largest has its own one alone."""
    return EVA_ROWS if trunk is E14 else ROWS


def _heads(trunk: Trunk) -> int:
    return 3 if trunk is TINY else 16
