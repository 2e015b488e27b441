"""What an image tower and a text tower share: frozen blocks with extension points, and owners of what trains."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.linear import AdaptedLinear
from lightning_petl.shapes import Grid, Tokens

EXTENSIONS = ("entry", "slots", "prompts", "deltas", "readers", "shared")
Blocks = str | list[int]


class Encoder(nn.Module):
    """A frozen transformer: an embedding, then ``blocks``, then what its subclass makes of their last tokens.

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
        """What is used in front of the first block."""

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def frozen_stages(self) -> int:
        """How many leading stages (the embedding, then each block) hold nothing that trains."""
        trains = [
            any(p.requires_grad for p in self.embedding_parameters()),
            *map(owns_trainable, self.blocks),
        ]
        return trains.index(True) if any(trains) else len(trains)

    def run(
        self,
        embed: Callable[[], Tokens],
        grid: Grid,
        read: Callable[[int, Tokens], None] = lambda index, x: None,
    ) -> Tokens:
        """Return the tokens behind the last block; stages in front of what trains run under ``no_grad``.

        Args:
            embed: gives the tokens in front of the first block.
            grid: where the patches sit in them.
            read: is given the index of each block and the tokens behind it.
        """
        frozen, wanted = self.frozen_stages, torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted and frozen == 0):
            x = embed()
        for index, block in enumerate(self.blocks):
            with torch.set_grad_enabled(wanted and frozen <= index + 1):
                x = self.run_block(block, x, grid)
            read(index, x)
        return x

    def run_block(self, block: nn.Module, x: Tokens, grid: Grid) -> Tokens:
        """Return the tokens behind a block."""
        if self.activation_checkpointing and torch.is_grad_enabled():
            return cast(Tokens, checkpoint(block, x, grid, use_reentrant=False))
        return block(x, grid)

    def select(self, blocks: Blocks) -> list[AdaptedBlock]:
        """Return the chosen blocks: ``all``, ``last 4``, ``first 4`` or a list of indices.

        Raises:
            ValueError: the choice is malformed, empty, or outside the trunk.
        """
        chosen = [self.blocks[index] for index in block_indices(blocks, self.depth)]
        return cast(list[AdaptedBlock], chosen)

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
        norms = {
            id(p)
            for m in self.modules()
            if isinstance(m, nn.LayerNorm)
            for p in m.parameters()
        }
        for parameter in self.parameters():
            wide = (
                parameter.requires_grad or parameter.ndim == 0 or id(parameter) in norms
            )
            parameter.data = parameter.data.to(
                torch.float32 if wide else getattr(torch, self.frozen_dtype)
            )

    def train(self, mode: bool = True) -> "Encoder":
        """Set the mode of what trains; frozen modules stay in eval, whoever calls."""
        super().train(mode)
        for module in frozen_modules(self):
            module.eval()
        return self

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of the computation: autocast, where the weights are stored in bfloat16."""
        if self.frozen_dtype == "float32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


def owns_trainable(module: nn.Module) -> bool:
    """Whether any parameter of ``module`` trains."""
    return any(parameter.requires_grad for parameter in module.parameters())


def frozen_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest trunk modules in which nothing trains; methods keep their own mode (dropout)."""
    for name, child in module.named_children():
        if name in EXTENSIONS:
            continue
        if owns_trainable(child):
            yield from frozen_modules(child)
        else:
            yield child


def block_indices(blocks: Blocks, depth: int) -> list[int]:
    """Return the indices meant by ``all``, ``first k``, ``last k`` or a list, among ``depth`` blocks."""
    valid = f"'all', 'first k' or 'last k' with k in 1..{depth}, or a list of indices in 0..{depth - 1}"
    if isinstance(blocks, str):
        word, _, number = blocks.partition(" ")
        count = depth if blocks == "all" else int(number) if number.isdecimal() else 0
        if (
            blocks != "all" and word not in ("first", "last")
        ) or not 1 <= count <= depth:
            raise ValueError(
                f"blocks {blocks!r} is not a choice of this trunk; valid: {valid}"
            )
        return list(range(depth))[-count:] if word == "last" else list(range(count))
    if (
        not blocks
        or not all(0 <= index < depth for index in blocks)
        or len(set(blocks)) < len(blocks)
    ):
        raise ValueError(
            f"blocks {blocks!r} is not a choice of this trunk; valid: {valid}"
        )
    return sorted(blocks)
