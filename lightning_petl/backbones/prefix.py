"""The part of a trunk in front of all that trains: what it computes of a clip never changes, so it can be kept.

Parts of the prefix by name: ``pixels`` (the clip), ``embedding`` and ``block.<index>`` (the tokens behind it, as clips
``"b t n d"``), ``feature`` (what the trunk's own read-out reads, ``"b d"``). Which of them a model needs follows from
what trains and from what its readers tap. Beside ``STAdapter(blocks="last 2")`` on 12 blocks it is ``block.9``::

    embedding   block.0   ...   block.9   |   block.10   block.11   readout
    -------- frozen, run once a clip -----+---------- trains, run each step
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_petl.backbones.encoder import owns_trainable
from lightning_petl.backbones.readout import READOUTS
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Answer, ClipPixels, Pixels

PIXELS = "pixels"
EMBEDDING = "embedding"
FEATURE = "feature"
Parts = Mapping[str, Tensor]


def needed(vit: VideoViT) -> list[str]:
    """Return the parts without which the features of ``vit`` cannot be computed.

    Raises:
        ValueError: the first thing that trains lies in the embedding: nothing is in front of it.
    """
    cut = _cut(vit)
    if cut < 0:
        raise ValueError(
            f"{_first_owner(vit)} trains in front of the first block: nothing of the "
            "trunk is frozen up to there"
        )
    stages = stage_names(vit)
    tapped = {f"block.{index}" for index in vit.readers.tapped}
    names = [name for name in stages[: cut + 1] if name in tapped]
    if _has_frozen_feature(vit) and len(vit.readers) == 0:
        names.append(FEATURE)
    elif cut < vit.depth or len(vit.readers) == 0:
        names.append(stages[cut])
    if vit.readers.reads_pixels:
        names.append(PIXELS)
    # the tapped block may be the cut
    return list(dict.fromkeys(names))


def offered(vit: VideoViT) -> list[str]:
    """Return all parts that can be kept of ``vit``: none behind the first thing that trains."""
    names = stage_names(vit)[: _cut(vit) + 1]
    if _has_frozen_feature(vit):
        names.append(FEATURE)
    return [*names, PIXELS]


def require(vit: VideoViT, kept: Collection[str]) -> None:
    """Raise ``ValueError`` where ``kept`` lacks a part that ``vit`` needs, saying what needs it."""
    stages = stage_names(vit)
    cut = _cut(vit)
    missing = [name for name in needed(vit) if name not in kept]
    if not missing:
        return
    behind = [name for name in stages[max(cut + 1, 0) :] if name in kept]
    if behind and stages[cut] in missing:
        raise ValueError(
            f"the cache begins at {behind[0]}, but something trains below that cut, in block {cut}, which would be "
            f"skipped: build a cache that holds {stages[cut]}, or train from {behind[0]} on"
        )
    raise ValueError(
        f"the cache lacks {', '.join(missing)}, which this stack needs; it holds {', '.join(kept)}: build it for this "
        "stack, or choose taps among these"
    )


def identity(vit: VideoViT, names: Collection[str]) -> dict[str, Any]:
    """Return what decides the values of these parts, in JSON types; frames and augmentation are the data's."""
    key = {
        "name": vit.name,
        "weights": vit.weights_hash,
        "frozen_dtype": vit.frozen_dtype,
        "image_size": vit.image_size[0],
        "mean": vit.pixel_mean.flatten().tolist(),
        "std": vit.pixel_std.flatten().tolist(),
    }
    # tokens do not depend on how they are read
    return key | ({"readout": vit.readout} if FEATURE in names else {})


@torch.no_grad()
def prefix(
    vit: VideoViT, clip: ClipPixels, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Run the trunk as far as the last of these parts, and return them; None: those that ``vit`` needs."""
    names = needed(vit) if names is None else names
    grid = vit.grid.of(clip)
    parts = {PIXELS: clip} if PIXELS in names else {}
    stages = stage_names(vit)
    last = vit.depth if FEATURE in names else _last(stages, names)
    if last is None:
        return parts
    with vit.precision(clip.device):
        x = None
        for stage, x in vit.stages(lambda: vit.embed(vit.normalize(clip)), grid):
            if stages[stage] in names:
                parts[stages[stage]] = grid.to_clip(x)
            # the next stage runs only when it is asked for
            if stage == last:
                break
        assert x is not None
        if FEATURE in names:
            parts[FEATURE] = READOUTS[vit.readout](vit, x, grid).float()
    return parts


def features_from(vit: VideoViT, parts: Parts) -> Answer:
    """Return the features that ``vit`` would compute of the clips of these parts.

    Blocks in front of the first one that trains do not run.
    """
    names = needed(vit)
    if FEATURE in names:
        return parts[FEATURE]
    video = _video(vit, parts, names)
    grid = vit.grid.of(video)
    stages = stage_names(vit)
    cut = _cut(vit)
    with vit.precision(video.device):
        states = vit.readers.begin(video, grid)
        for stage in range(1, cut):
            if stages[stage] in names:
                x = grid.from_clip(parts[stages[stage]])
                vit.readers.read(stage - 1, x[:, : grid.patches.stop], states)
        # readers whose last tap lies in front of the cut need no tokens there
        if stages[cut] not in names:
            return vit.readers.end(states)
        x = vit.read(lambda: grid.from_clip(parts[stages[cut]]), grid, states, cut)
        return vit.answer(x, grid, states)


def stage_names(vit: VideoViT) -> list[str]:
    """Return the name of each stage of the trunk: the embedding, then its blocks."""
    return [EMBEDDING, *(f"block.{index}" for index in range(vit.depth))]


def _cut(vit: VideoViT) -> int:
    """Return the last stage in front of all that trains; -1: not even the embedding is."""
    return vit.frozen_stages - 1


def _first_owner(vit: VideoViT) -> str:
    for name, parameter in vit.named_parameters():
        if parameter.requires_grad:
            return vit.owners.get(name, "something")
    return "something"


def _has_frozen_feature(vit: VideoViT) -> bool:
    """Return whether nothing trains up to the trunk's own feature."""
    if _cut(vit) < vit.depth:
        return False
    behind = (vit.norm, vit.fc_norm, vit.attn_pool)
    return not any(module and owns_trainable(module) for module in behind)


def _last(stages: list[str], names: Collection[str]) -> int | None:
    wanted = [stage for stage, name in enumerate(stages) if name in names]
    return wanted[-1] if wanted else None


def _video(vit: VideoViT, parts: Parts, names: list[str]) -> Pixels:
    """Return normalized clips, or frames of no pixels, where nothing reads them."""
    if PIXELS in names:
        return vit.normalize(parts[PIXELS])
    tokens = parts[names[0]]
    return torch.empty(*tokens.shape[:2], 3, 0, 0, device=tokens.device)
