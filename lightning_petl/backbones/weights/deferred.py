"""Trunks too large for one process: blocks without memory, until each rank reads its share of them from a file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import nn

from lightning_petl.backbones.weights.families import Trunk
from lightning_petl.backbones.weights.pretrained import (
    Weights,
    blocks_of,
    converted,
    create,
    read_state,
    require_depth,
    require_fit,
    state_hash,
)


class WeightsFile(NamedTuple):
    """Say where the blocks of a trunk are read when their time comes.

    Attributes:
        open: maps the file's tensors into memory, under the trunk's names; what is not touched costs nothing.
    """

    open: Callable[[], Weights]

    def weights_hash(self) -> str:
        """Return the hash that the trunk has when loaded at once; one tensor of the file at a time is in memory."""
        return state_hash(self.open())


def load_deferred(
    name: str, path: Path, depth: int | None
) -> tuple[Trunk, WeightsFile]:
    """Return timm's model with the weights of a file around its blocks, and blocks on the meta device.

    Positions and patches are 0.1 % of a large trunk; they are real, so that they can be interpolated as ever.

    Raises:
        ValueError: unknown name, weights that do not fit, a depth the trunk does not have.
        FileNotFoundError: no such file.
    """
    if depth is not None:
        require_depth(name, depth, blocks_of(name))
    # no memory: an EVA-02-CLIP-E has 17 GB of weights
    with torch.device("meta"):
        whole = create(name, pretrained=False, cut=depth)
    model = create(name, pretrained=False, cut=1)
    source = WeightsFile(partial(_mapped, whole, path, depth))
    state = source.open()
    require_fit(whole, state, str(path), "trunk")
    around = {k: v for k, v in state.items() if not k.startswith("blocks.")}
    model.load_state_dict(around, strict=False)
    first = cast(nn.Sequential, model.blocks)[0]
    blocks = cast(nn.Sequential, whole.blocks)
    for block in blocks:
        _copy_constants(first, block)
    model.blocks = blocks  # pyright: ignore[reportAttributeAccessIssue]  # what timm's forward makes of it is not used
    return model, source


def _mapped(model: Trunk, path: Path, depth: int | None) -> Weights:
    return converted(model, read_state(path), str(path), depth)


def _copy_constants(source: nn.Module, target: nn.Module) -> None:
    """Give a block the buffers that no file holds; they are the same in every block."""
    saved = source.state_dict().keys()
    for name, value in source.named_buffers():
        if name not in saved:
            owner, _, key = name.rpartition(".")
            target.get_submodule(owner).register_buffer(
                key, value.clone(), persistent=False
            )
