"""Every method in several settings, and what each declares: its count, what it trains, its exceptions.

Counts are closed forms of the papers' layers at width ``D``, ``L`` blocks, ``r`` rank, ``b`` bottleneck; none is read
off the implementation.
"""

from dataclasses import replace
from itertools import combinations_with_replacement

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

D, L, F = 192, 2, 768
BLOCK = 4 * D * D + 4 * D + 2 * D * F + F + D + 4 * D
PATCHES, FRAMES = 4, 4

_ST = STAdapter(bottleneck=8)
_AF = AdaptFormer(bottleneck=8)
_LV = LvAdapter(bottleneck=8)
_AIM = AIM(bottleneck=8)
_LORA = LoRA(rank=4, alpha=8.0)
_S4V = Side4Video(width=64)
_M = MAdapter(width=64)
_PROBE = AttentiveProbe(blocks=1)
_STEP = STEP(heads=4)
_DRAWN = ("q", "k", "v", "fc1", "fc2", "norm2")


def _st(volume: int, sites: int) -> int:
    return L * sites * (2 * D * 8 + D + (volume + 2) * 8)


def _bottleneck(extra: int = 0) -> int:
    return L * (2 * D * 8 + 8 + D + extra)


def _aim(adapters: int, norm: int = 2 * D) -> int:
    return adapters * _bottleneck() + FRAMES * D + norm


def _lora(*shapes: tuple[int, int], magnitudes: int = 0) -> int:
    return L * (
        sum(4 * (inputs + outputs) for inputs, outputs in shapes) + magnitudes
    )


def _side(taps: int, width: int = 64) -> int:
    stem = 9 * width * 16**2 + width
    return (
        taps * (14 * width**2 + 22 * width + D * width + 2 * D)
        + stem
        + 4 * width
        + PATCHES * width
    )


def _m(
    taps: int, units: int, width: int = 64, mixing: int = 4 * 32, gates: int = 1
) -> int:
    """Projections, then M-adapters with a bottleneck of 32 channels, and the last norm."""
    fusion = 2 * width + 2 * width**2 + 2 * width
    temporal = 2 * width + 2 * width * 32 + 32 + width + mixing
    return (
        taps * (2 * D + D * width + width)
        + units * (gates + fusion + temporal)
        + 2 * width
    )


def _probe(blocks: int) -> int:
    return blocks * (12 * D**2 + 13 * D) + 11 * D**2 + 13 * D


_SQUARE = (D, D)

_ROWS: dict[str, tuple[Adapter, int]] = {
    "linear_probe": (LinearProbe(), 0),
    "full_fine_tuning": (
        FullFineTuning(),
        L * BLOCK + (3 * 256 * D + D) + D + (1 + PATCHES) * D + 2 * D,
    ),
    "partial": (Partial(), BLOCK + 2 * D),
    "partial_two_without_norm": (Partial(blocks="last 2", norm=False), 2 * BLOCK),
    "ln_tuning": (LNTuning(), 4 * D * L + 2 * D),
    "ln_tuning_inside": (LNTuning(outside=False), 4 * D * L),
    "bitfit": (BitFit(), 11 * D * L + 2 * D),
    "bitfit_multi_tunev": (BitFit(targets=_DRAWN, outside=False), 9 * D * L),
    "bitfit_k": (BitFit(targets=("k",), outside=False), D * L),
    "bitfit_q_fc2": (BitFit(targets=("q", "v", "fc2"), outside=False), 3 * D * L),
    "bitfit_outside": (BitFit(targets=()), 2 * D),
    "vpt_shallow": (VPT(num_prompts=3, deep=False), 3 * D),
    "vpt_deep": (VPT(num_prompts=3), 3 * D * L),
    "vpt_xavier": (VPT(num_prompts=3, init="xavier", dropout=0.1), 3 * D * L),
    "vpt_project": (VPT(num_prompts=3, project=5), 3 * 5 * L + 5 * D + D),
    "vpt_shallow_project": (
        VPT(num_prompts=3, deep=False, project=5),
        3 * 5 + 5 * D + D,
    ),
    "vpt_last": (VPT(num_prompts=3, blocks="last 1"), 3 * D),
    "lora_qv": (_LORA, _lora(_SQUARE, _SQUARE)),
    "lora_qkv": (replace(_LORA, targets=("q", "k", "v")), _lora(*3 * [_SQUARE])),
    "lora_o": (replace(_LORA, targets=("o",)), _lora(_SQUARE)),
    "lora_mlp": (replace(_LORA, targets=("fc1", "fc2")), _lora((D, F), (F, D))),
    "lora_all_dropout": (
        replace(_LORA, targets=("q", "k", "v", "o", "fc1", "fc2"), dropout=0.1),
        _lora(*4 * [_SQUARE], (D, F), (F, D)),
    ),
    "lora_shared": (
        replace(_LORA, targets=("q", "k", "v"), fused="shared"),
        _lora((D, 3 * D)),
    ),
    "lora_gaussian": (replace(_LORA, init="gaussian"), _lora(_SQUARE, _SQUARE)),
    "rslora": (replace(_LORA, rslora=True), _lora(_SQUARE, _SQUARE)),
    "dora": (
        replace(_LORA, targets=("q", "v", "fc1"), dora=True),
        _lora(*2 * [_SQUARE], (D, F), magnitudes=2 * D + F),
    ),
    "dora_shared": (
        replace(_LORA, targets=("q", "k", "v"), dora=True, fused="shared"),
        _lora((D, 3 * D), magnitudes=3 * D),
    ),
    "pissa": (replace(_LORA, init="pissa"), _lora(_SQUARE, _SQUARE)),
    "pissa_dora": (
        replace(_LORA, init="pissa", dora=True),
        _lora(_SQUARE, _SQUARE, magnitudes=2 * D),
    ),
    "olora": (
        replace(_LORA, init="olora", targets=("o", "fc2")),
        _lora(_SQUARE, (F, D)),
    ),
    "orthogonal": (replace(_LORA, init="orthogonal"), _lora(_SQUARE, _SQUARE)),
    "lora_first": (replace(_LORA, blocks="first 1"), _lora(_SQUARE, _SQUARE) // 2),
    "lv_adapter": (_LV, _bottleneck(D)),
    "lv_adapter_branch": (replace(_LV, vector_on="adapter_branch"), _bottleneck(D)),
    "lv_adapter_both_sites": (
        replace(_LV, vector_on="both", sites=("attn", "mlp")),
        2 * _bottleneck(2 * D),
    ),
    "lv_adapter_linear": (replace(_LV, activation="none"), _bottleneck(D)),
    "st_adapter": (_ST, _st(3, 2)),
    "st_adapter_attn": (replace(_ST, sites=("attn",)), _st(3, 1)),
    "st_adapter_mlp": (replace(_ST, sites=("mlp",)), _st(3, 1)),
    "st_adapter_333": (
        replace(_ST, kernel=(3, 3, 3), activation="gelu"),
        _st(27, 2),
    ),
    "st_adapter_space": (replace(_ST, kernel=(1, 3, 3)), _st(9, 2)),
    "st_adapter_last": (replace(_ST, blocks="last 1"), _st(3, 1)),
    "adapt_former": (_AF, _bottleneck()),
    "adapt_former_sequential": (
        replace(_AF, placement="sequential"),
        _bottleneck(),
    ),
    "adapt_former_after_block": (
        replace(_AF, placement="after_block", scale=1.0),
        _bottleneck(),
    ),
    "adapt_former_trunc_normal": (replace(_AF, init="trunc_normal"), _bottleneck()),
    "adapt_former_learnable": (
        replace(_AF, scale="learnable", dropout=0.1),
        _bottleneck(1),
    ),
    "adapt_former_norm_in": (
        replace(_AF, layernorm="in", activation="gelu"),
        _bottleneck(2 * D),
    ),
    "adapt_former_norm_out": (replace(_AF, layernorm="out"), _bottleneck(2 * D)),
    "aim": (_AIM, _aim(3)),
    "aim_two_temporal": (
        replace(_AIM, temporal_adapters=2, scale=0.5, drop_path=0.3),
        _aim(4),
    ),
    "aim_without_norm": (replace(_AIM, norm=False), _aim(3, norm=0)),
    "aim_quarter": (
        AIM(blocks="last 1"),
        3 * (2 * D * 48 + 48 + D) + FRAMES * D + 2 * D,
    ),
    "multi_tunev": (
        MultiTuneV(
            st_adapter=_ST,
            vpt=VPT(num_prompts=2),
            lora=replace(_LORA, targets=("q", "k", "v")),
            adapt_former=replace(_AF, scale=1.0, placement="after_block"),
        ),
        _st(3, 2) + 2 * D * L + _lora(*3 * [_SQUARE]) + 9 * D * L + _bottleneck(),
    ),
    "side4video": (_S4V, _side(2)),
    "side4video_plain": (replace(_S4V, save_memory=False), _side(2)),
    "side4video_light": (replace(_S4V, taps="odd", checkpoint=("mlp",)), _side(1)),
    "side4video_group": (replace(_S4V, norm="group", width=128), _side(2, 128)),
    "side4video_sync": (replace(_S4V, norm="sync", taps=[0]), _side(1)),
    "side4video_eva": (
        replace(_S4V, form="eva", checkpoint=("conv", "attn", "mlp")),
        _side(2) + 2 * (2 * 64 - 2 * D) - 2 * 64,
    ),
    "side4video_retrieval": (replace(_S4V, form="clip_retrieval"), _side(2) + 64),
    "side4video_retrieval_eva": (
        replace(_S4V, form="eva_retrieval"),
        _side(2) + 2 * (2 * 64 - 2 * D),
    ),
    "m_adapter": (_M, _m(2, 2)),
    "m_adapter_plain": (replace(_M, save_memory=False), _m(2, 2)),
    "m_adapter_tree": (replace(_M, combine="tree", pool="gap"), _m(2, 1)),
    "m_adapter_parallel": (replace(_M, combine="parallel", pool="cls"), _m(2, 2)),
    "m_adapter_attention": (
        replace(_M, temporal="attention", checkpoint=("fusion", "temporal")),
        _m(2, 2, mixing=3 * 32**2 + 3 * 32),
    ),
    "m_adapter_shift": (
        replace(_M, temporal="shift", width=40, bottleneck=32, taps="odd"),
        _m(1, 1, 40, mixing=0),
    ),
    "m_adapter_single": (replace(_M, combine="parallel", taps=[0]), _m(1, 1)),
    "attentive_probe": (_PROBE, _probe(1)),
    "attentive_probe_frames": (
        replace(_PROBE, frame_positions=True, taps="all", checkpoint=("mlp",)),
        _probe(1),
    ),
    "attentive_probe_plain": (
        replace(_PROBE, blocks=0, save_memory=False, heads=3),
        _probe(0),
    ),
    "step": (_STEP, 4 * D * D + (7 + FRAMES) * D),
    "step_plain": (
        replace(_STEP, save_memory=False, taps="all", heads=3),
        4 * D * D + (7 + FRAMES) * D,
    ),
}

METHODS: dict[str, list[Adapter]] = {
    name: [adapter] for name, (adapter, _) in _ROWS.items()
}
COUNTS: dict[str, int] = {name: count for name, (_, count) in _ROWS.items()}

TRAINS_IN_TRUNK: dict[str, str] = {
    "aim": r"norm\..*",
    "aim_two_temporal": r"norm\..*",
    "aim_quarter": r"norm\..*",
    "full_fine_tuning": r".*",
    "partial": r"blocks\.1\..*|norm\..*",
    "partial_two_without_norm": r"blocks\..*",
    "ln_tuning": r"(blocks\.\d\.)?norm\d?\..*",
    "ln_tuning_inside": r"blocks\.\d\.norm\d\..*",
    "bitfit": r".*\.bias",
    "bitfit_multi_tunev": r"blocks\.\d\.(attn\.qkv|mlp\.fc1|mlp\.fc2|norm2)\.bias",
    "bitfit_q_fc2": r"blocks\.\d\.mlp\.fc2\.bias",
    "bitfit_outside": r"(patch_embed\.proj|norm)\.bias",
    "multi_tunev": r"blocks\.\d\.(attn\.qkv|mlp\.fc1|mlp\.fc2|norm2)\.bias",
}
"""Names of the trunk's own parameters that a method trains; no name: none of them."""

MOVES_AT_INIT = {
    "vpt_shallow",
    "vpt_deep",
    "vpt_xavier",
    "vpt_last",
    "vpt_project",
    "vpt_shallow_project",
    "multi_tunev",
    "adapt_former_trunc_normal",
}
"""Not the identity at init, as published: random prompts, and the released video code's second init."""
ROUNDS_AT_INIT = {"dora", "dora_shared", "pissa_dora"}
"""The identity up to rounding: the bias is added behind a ratio of norms."""
READERS = {
    name
    for name in METHODS
    if name.startswith(("side4video", "m_adapter", "attentive_probe", "step"))
}
"""They replace the trunk's feature and leave its tokens alone."""
DEAD = {
    name: {
        "readers.MAdapter.shares"
        if name.endswith("single")
        else f"readers.MAdapter.taps.{first}.units.0.gate"
    }
    for name, first in {
        "m_adapter": 0,
        "m_adapter_plain": 0,
        "m_adapter_attention": 0,
        "m_adapter_shift": 1,
        "m_adapter_single": 0,
    }.items()
}
"""Parameters that no read-out reaches: gates with nothing to choose between."""
BLIND_READERS = {"attentive_probe", "attentive_probe_plain"}
"""As published, they leave the order of frames to a trunk that knows it."""
TEMPORAL = {
    "st_adapter",
    "st_adapter_attn",
    "st_adapter_mlp",
    "st_adapter_333",
    "st_adapter_last",
    "multi_tunev",
    "aim",
    "aim_two_temporal",
    "aim_without_norm",
    "aim_quarter",
    *READERS - BLIND_READERS,
}
"""They see the order of frames."""
LINEAR_DELTAS = {
    "bitfit_k",
    *(
        name
        for name in METHODS
        if name.startswith(
            ("lora", "rslora", "dora", "pissa", "olora", "orthogonal")
        )
    ),
}
"""They live in the weights alone: folding leaves timm's own keys."""

REPRESENTATIVES = [
    "linear_probe",
    "full_fine_tuning",
    "partial",
    "ln_tuning",
    "bitfit",
    "bitfit_k",
    "vpt_shallow",
    "vpt_deep",
    "lora_qv",
    "lora_mlp",
    "dora",
    "pissa",
    "lv_adapter",
    "st_adapter",
    "adapt_former",
    "adapt_former_after_block",
    "aim",
    "multi_tunev",
    "side4video",
    "m_adapter",
    "attentive_probe",
    "step",
]
"""One setting of each place that a method can train in, at least one of each method: the mark that the dearer laws
follow."""
KINDS = [
    *REPRESENTATIVES,
    # parameters of other shapes, several owners of one module, or draws of their own
    "vpt_xavier",
    "vpt_project",
    "lora_shared",
    "lora_all_dropout",
    "dora_shared",
    "lv_adapter_both_sites",
    "adapt_former_learnable",
    "adapt_former_norm_in",
    "aim_two_temporal",
    "side4video_group",
    "side4video_sync",
    "side4video_eva",
    "m_adapter_attention",
    "m_adapter_single",
    "attentive_probe_frames",
]
"""One of each kind of parameter and of each kind of module: for laws on how a trunk is run, stored or read."""

_ALONE = {"linear_probe", "full_fine_tuning"}
_MEANINGLESS = {
    # one trains all that the other would
    frozenset({"bitfit", "multi_tunev"}),
    # DoRA needs its linears for itself
    frozenset({"dora", "lora_qv"}),
    frozenset({"dora", "lora_mlp"}),
    frozenset({"dora", "pissa"}),
    frozenset({"dora", "bitfit_k"}),
    frozenset({"dora", "multi_tunev"}),
    # features of two widths have no mean
    frozenset({"attentive_probe", "side4video"}),
    frozenset({"attentive_probe", "m_adapter"}),
    frozenset({"step", "side4video"}),
    frozenset({"step", "m_adapter"}),
}


def is_meaningless(first: str, second: str) -> bool:
    """Whether a stack of the two must be refused; no method comes twice with the same settings."""
    return (
        first == second
        or bool({first, second} & _ALONE)
        or frozenset({first, second}) in _MEANINGLESS
    )


ALL_PAIRS = list(combinations_with_replacement(REPRESENTATIVES, 2))
PAIRS = [pair for pair in ALL_PAIRS if not is_meaningless(*pair)]
MEANINGLESS_PAIRS = [pair for pair in ALL_PAIRS if is_meaningless(*pair)]
