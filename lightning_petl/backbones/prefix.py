"""The part of a trunk in front of all that trains: what it computes of a clip never changes, so it can be kept.

Parts of the prefix by name: ``pixels`` (the clip), ``embedding`` and ``block.<index>`` (the tokens behind it, as clips
``"b t n d"``), ``feature`` (what the trunk's own read-out reads, ``"b d"``). Which of them a model needs follows from
what trains and from what its readers tap.
"""

from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lightning_petl.backbones.encoder import owns_trainable
from lightning_petl.backbones.readout import READOUTS
from lightning_petl.backbones.vit import Reader, VideoViT
from lightning_petl.shapes import Clip, Feature

PIXELS, EMBEDDING, FEATURE = "pixels", "embedding", "feature"
Parts = Mapping[str, Tensor]


def needed(vit: VideoViT) -> list[str]:
    """The parts without which the features of ``vit`` cannot be computed.

    Raises:
        ValueError: the first thing that trains lies in the embedding: nothing is in front of it.
    """
    cut = vit.frozen_stages - 1
    if cut < 0:
        owner = vit.owners.get(
            next(name for name, p in vit.named_parameters() if p.requires_grad),
            "something",
        )
        raise ValueError(
            f"{owner} trains in front of the first block: nothing of the trunk is frozen up to there"
        )
    readers = cast(list[Reader], list(vit.readers.values()))
    tapped = {f"block.{index}" for reader in readers for index in reader.taps}
    stages = _stages(vit)
    names = [name for name in stages[: cut + 1] if name in tapped]
    if cut < vit.depth or not readers:
        names.append(
            FEATURE if cut == vit.depth and not _readout_trains(vit) else stages[cut]
        )
    if any(getattr(reader, "reads_pixels", True) for reader in readers):
        names.append(PIXELS)
    return list(dict.fromkeys(names))


def offered(vit: VideoViT) -> list[str]:
    """All parts that can be kept of ``vit``: none behind the first thing that trains."""
    cut = vit.frozen_stages - 1
    feature = cut == vit.depth and not _readout_trains(vit)
    return [*_stages(vit)[: cut + 1], *[FEATURE] * feature, PIXELS]


def require(vit: VideoViT, kept: Collection[str]) -> None:
    """Raise ``ValueError`` where ``kept`` lacks a part that ``vit`` needs, saying what needs it."""
    stages, cut = _stages(vit), vit.frozen_stages - 1
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
    """What decides the values of these parts, in JSON types; frames and augmentation are the data's."""
    key = {
        "name": vit.name,
        "weights": vit.weights_hash,
        "frozen_dtype": vit.frozen_dtype,
        "image_size": vit.image_size[0],
        "mean": vit.pixel_mean.flatten().tolist(),
        "std": vit.pixel_std.flatten().tolist(),
    }
    return key | ({"readout": vit.readout} if FEATURE in names else {})


@torch.no_grad()
def prefix(
    vit: VideoViT, clip: Clip, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Run the trunk as far as the last of these parts, and return them; None: those that ``vit`` needs."""
    names = needed(vit) if names is None else names
    grid = vit.grid._replace(frames=clip.shape[1])
    parts = {PIXELS: clip} if PIXELS in names else {}
    with vit.precision(clip.device):
        x = torch.empty(0, 0, 0)
        for stage, name in enumerate(_stages(vit)):
            if len(parts) == len(names):
                break
            x = (
                vit.run_block(vit.blocks[stage - 1], x, grid)
                if stage
                else vit.embed(vit.normalise(clip))
            )
            if name in names:
                parts[name] = rearrange(x, "(b t) n d -> b t n d", t=grid.frames)
        if FEATURE in names:
            parts[FEATURE] = READOUTS[vit.readout](vit, x, grid).float()
    return parts


def features_from(vit: VideoViT, parts: Parts) -> Feature:
    """The features that ``vit`` would compute of the clips of these parts; blocks in front of the cut do not run."""
    names, cut = needed(vit), vit.frozen_stages - 1
    if FEATURE in names:
        return parts[FEATURE]
    video = _video(vit, parts, names)
    grid = vit.grid._replace(frames=video.shape[1])
    with vit.precision(video.device):
        states, x = vit.begin(video, grid), torch.empty(0, 0, 0)
        for stage, name in enumerate(_stages(vit)):
            if stage > cut:
                x = vit.run_block(vit.blocks[stage - 1], x, grid)
            elif name in names:
                x = rearrange(parts[name], "b t n d -> (b t) n d")
            if stage:
                vit.read(stage - 1, x[:, : grid.patches.stop], states)
        return vit.end(x, grid, states)


def _stages(vit: VideoViT) -> list[str]:
    return [EMBEDDING, *(f"block.{index}" for index in range(vit.depth))]


def _readout_trains(vit: VideoViT) -> bool:
    behind = (vit.norm, vit.fc_norm, vit.attn_pool)
    return any(owns_trainable(module) for module in behind if module is not None)


def _video(
    vit: VideoViT, parts: Parts, names: Collection[str]
) -> Float[Tensor, "b t c h w"]:
    """Normalised clips, or frames of no pixels, where nothing reads them."""
    if PIXELS in names:
        return vit.normalise(parts[PIXELS])
    tokens = next(parts[name] for name in names)
    return torch.empty(*tokens.shape[:2], 3, 0, 0, device=tokens.device)
