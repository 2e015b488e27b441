"""Read the pooled features of a cache as one array, for what compares clips without a trunk."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from data_modules.features.cache import read_index
from data_modules.features.shards import Shard, unpack
from data_modules.io.untrusted import inside
from data_modules.sample import Split

FEATURE = "feature"
"""Name of the part that holds what a head reads of a clip."""


class PooledFeatures(NamedTuple):
    """Hold the features of a split, a row a clip.

    Attributes:
        features: as the trunk computed them, float32.
        labels: number of the class of each.
        readable: whether the video of each could be read when the cache was built.
    """

    features: Float[Tensor, "n v d"]
    labels: Int64[Tensor, "n v"]
    readable: Bool[Tensor, " n"]


def read_pooled(
    folder: Path, split: Split, advance: Callable[[], None] = lambda: None
) -> PooledFeatures:
    """Return the features that a cache keeps of a split; of training those of the first draw.

    Args:
        folder: of the cache.
        split: of the data set.
        advance: called after each clip.

    Raises:
        FileNotFoundError: the folder holds no cache, or lacks a shard.
        ValueError: a shard is damaged, or the cache keeps no pooled feature.
    """
    index = read_index(folder)
    if FEATURE not in index.parts:
        raise ValueError(
            f"{folder}: keeps {', '.join(index.parts)} and no pooled feature, which neighbors are found by; build a "
            "cache with --model.adapters=[LinearProbe], or with --parts=[feature]"
        )
    layout = index.layout[split]
    features: list[Tensor] = []
    labels: list[tuple[int, ...]] = []
    readable: list[bool] = []
    for name, rows in layout.shards(split):
        shard = Shard(inside(folder, name))
        shard.require_rows(len(rows))
        # the draws come one after the other, so those of the first are the first rows
        for place in range(min(len(rows), layout.clips - rows.start)):
            row = shard.row(place, [FEATURE])
            feature = unpack(row.parts, index.parts)[FEATURE].float()
            features.append(feature.flatten(1))
            views = len(feature)
            labels.append(
                row.labels if len(row.labels) == views else row.labels * views
            )
            readable.append(not row.fault)
            advance()
    return PooledFeatures(
        torch.stack(features), torch.tensor(labels), torch.tensor(readable)
    )
