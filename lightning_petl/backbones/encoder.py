"""The frozen transformer under an image tower and a text tower: blocks with extension points, and what of it trains."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.children import Extension
from lightning_petl.backbones.linear import AdaptedLinear
from lightning_petl.shapes import Grid, Tokens

Blocks = str | list[int]


class Encoder(nn.Module):
    """Run a frozen transformer: an embedding, then ``blocks``, then what its subclass makes of their last tokens.

    Attributes:
        name: what it is called in messages, checkpoints and caches.
        dim: width of its tokens.
        blocks: :class:`~lightning_petl.backbones.block.AdaptedBlock` modules.
        owners: the method that owns each trainable parameter.
        frozen_dtype: storage of what does not train; bfloat16 computes under autocast.
        activation_checkpointing: recompute each block in the backward pass.
    """

    name: str
    dim: int
    blocks: nn.ModuleList
    owners: dict[str, str]
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    activation_checkpointing: bool = False

    @abstractmethod
    def embedding_parameters(self) -> Iterable[nn.Parameter]:
        """Return what is used in front of the first block."""

    @property
    def depth(self) -> int:
        """Return the number of blocks."""
        return len(self.blocks)

    @property
    def frozen_stages(self) -> int:
        """Return how many leading stages (the embedding, then each block) hold nothing that trains."""
        if any(p.requires_grad for p in self.embedding_parameters()):
            return 0
        for index, block in enumerate(self.blocks):
            if owns_trainable(block):
                return index + 1
        return self.depth + 1

    def stages(
        self, first: Callable[[], Tokens], grid: Grid, start: int = 0
    ) -> Iterator[tuple[int, Tokens]]:
        """Run the transformer stage by stage; yield each stage's number and the tokens behind it.

        Stage 0 is the embedding and stage k block k - 1, so that ``depth`` is the last one. Stages in front of what
        trains run under ``no_grad`` and keep no activations.

        Args:
            first: gives the tokens behind stage ``start``.
            grid: their layout.
            start: the first stage that is yielded.
        """
        frozen = self.frozen_stages
        wanted = torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted and frozen <= start):
            x = first()
        yield start, x
        for stage in range(start + 1, self.depth + 1):
            # left before the yield: what the caller does between stages keeps its own mode
            with torch.set_grad_enabled(wanted and frozen <= stage):
                x = self._run_block(self.blocks[stage - 1], x, grid)
            yield stage, x

    def last_tokens(self, first: Callable[[], Tokens], grid: Grid) -> Tokens:
        """Run all stages and return the tokens behind the last one; arguments as :meth:`stages`."""
        [(_, x)] = deque(self.stages(first, grid), maxlen=1)
        return x

    def _run_block(self, block: nn.Module, x: Tokens, grid: Grid) -> Tokens:
        if self.activation_checkpointing and torch.is_grad_enabled():
            # the reentrant form gives no gradient where the tokens need none
            return cast(Tokens, checkpoint(block, x, grid, use_reentrant=False))
        return block(x, grid)

    def select(self, blocks: Blocks) -> list[AdaptedBlock]:
        """Return the chosen blocks: ``all``, ``last 4``, ``first 4`` or a list of indices.

        Raises:
            ValueError: the choice is malformed, empty, or outside the trunk.
        """
        indices = block_indices(blocks, self.depth)
        return cast(list[AdaptedBlock], [self.blocks[index] for index in indices])

    def fold(self) -> None:
        """Fold every linear delta into plain weights, in place; the original layers and keys come back."""
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, AdaptedLinear):
                    setattr(module, name, child.folded())

    def cast_frozen(self) -> None:
        """Store what does not train in ``frozen_dtype``; what trains stays float32, and so do norms and scalars.

        A norm computes in float32 anyway, and its kernels take neither float32 tokens with a bfloat16 weight nor a
        trained bias beside a bfloat16 weight. Norms are 0.05 % of a ViT-B.
        """
        frozen = getattr(torch, self.frozen_dtype)
        norms = set[int]()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                norms.update(map(id, module.parameters()))
        for parameter in self.parameters():
            is_scalar = parameter.ndim == 0
            wide = parameter.requires_grad or is_scalar or id(parameter) in norms
            # the parameter stays the same object: adapted layers share it
            parameter.data = parameter.data.to(torch.float32 if wide else frozen)

    def train(self, mode: bool = True) -> "Encoder":
        """Set the mode of what trains; frozen modules stay in eval, whoever calls."""
        super().train(mode)
        for module in frozen_modules(self):
            module.eval()
        return self

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context of the computation: autocast, where the weights are stored in bfloat16."""
        if self.frozen_dtype == "float32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


def owns_trainable(module: nn.Module) -> bool:
    """Return whether any parameter of ``module`` trains."""
    return any(parameter.requires_grad for parameter in module.parameters())


def frozen_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest trunk modules in which nothing trains; methods keep their own mode (dropout)."""
    for child in module.children():
        if isinstance(child, Extension):
            continue
        if owns_trainable(child):
            yield from frozen_modules(child)
        else:
            yield child


def block_indices(blocks: Blocks, depth: int) -> list[int]:
    """Return the indices meant by ``all``, ``first k``, ``last k`` or a list, among ``depth`` blocks.

    Of 12 blocks, ``last 2`` means ``[10, 11]``.

    Raises:
        ValueError: the choice is malformed, empty, or outside the trunk.
    """
    if isinstance(blocks, str):
        chosen = _named_indices(blocks, depth)
    elif len(set(blocks)) == len(blocks):
        chosen = sorted(blocks)
    else:
        chosen = []
    if not chosen or chosen[0] < 0 or chosen[-1] >= depth:
        raise ValueError(
            f"blocks {blocks!r} is not a choice of this trunk; valid: 'all', 'first k' "
            f"or 'last k' with k in 1..{depth}, or a list of indices in 0..{depth - 1}"
        )
    return chosen


def _named_indices(blocks: str, depth: int) -> list[int]:
    """Return what a text means; nothing where it has no meaning here."""
    indices = list(range(depth))
    if blocks == "all":
        return indices
    word, _, number = blocks.partition(" ")
    count = int(number) if number.isdecimal() else 0
    if not 1 <= count <= depth:
        return []
    choices = {"first": indices[:count], "last": indices[-count:]}
    return choices.get(word, [])
