"""The page to read first: a frozen transformer block with places where methods plug in."""

from collections.abc import Callable
from typing import Literal, Protocol, get_args

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from lightning_petl.backbones.linear import AdaptedLinear, insert
from lightning_petl.shapes import Grid, Tokens

Slot = Literal["before_attn", "after_attn", "beside_attn", "before_mlp", "after_mlp", "beside_mlp", "after_block"]
Projection = Callable[[Tensor], Tensor]
SLOTS: tuple[Slot, ...] = get_args(Slot)


class SlotModule(Protocol):
    """What sits in a slot: its output is added. ``patches_only`` says that it leaves the class token alone."""

    def __call__(self, x: Tokens, grid: Grid) -> Tokens: ...


class AdaptedBlock(nn.Module):
    """A timm ``Block`` under its own parameter names, with slots, prompts and linear deltas.

    With ``D[s]`` the sum of the modules in slot ``s`` (nothing, if empty) and ``P`` this block's prompts, which
    take part in attention only::

        x = x + D[before_attn](x)
        h = attn(norm1([x; P]))[:n];    h = h + D[after_attn](h)
        x = x + ls1(h)                  + D[beside_attn](x)
        x = x + D[before_mlp](x)
        h = mlp(norm2(x));              h = h + D[after_mlp](h)
        x = x + ls2(h)                  + D[beside_mlp](x)
        x = x + D[after_block](x)

    Raises:
        TypeError: the block is of another class than timm's ``Block``.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        if type(block) is not Block:
            raise TypeError(f"AdaptedBlock adopts timm's vision_transformer.Block, not {type(block).__name__}")
        self.norm1, self.attn, self.ls1, self.drop_path1 = block.norm1, block.attn, block.ls1, block.drop_path1
        self.norm2, self.mlp, self.ls2, self.drop_path2 = block.norm2, block.mlp, block.ls2, block.drop_path2
        self.slots = nn.ModuleDict({slot: nn.ModuleDict() for slot in SLOTS})
        self.prompts = nn.ModuleDict()

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        x = self._plus(x, "before_attn", x, grid)
        h = self._attend(x)
        h = self._plus(h, "after_attn", h, grid)
        x = self._plus(x + self.drop_path1(self.ls1(h)), "beside_attn", x, grid)
        x = self._plus(x, "before_mlp", x, grid)
        h = self.mlp(self.norm2(x))
        h = self._plus(h, "after_mlp", h, grid)
        x = self._plus(x + self.drop_path2(self.ls2(h)), "beside_mlp", x, grid)
        return self._plus(x, "after_block", x, grid)

    def _plus(self, base: Tokens, slot: Slot, x: Tokens, grid: Grid) -> Tokens:
        for module in self.slots[slot].values():  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
            base = base + module(x, grid)
        return base

    def _attend(self, x: Tokens) -> Tokens:
        prompts = [prompt(x.shape[0]) for prompt in self.prompts.values()]
        return self.attn(self.norm1(torch.cat([x, *prompts], dim=1) if prompts else x))[:, : x.shape[1]]

    def add(self, slot: Slot, name: str, module: nn.Module) -> None:
        """Put ``module`` into a slot, under ``name``."""
        insert(self.slots[slot], name, module)

    def add_prompt(self, name: str, prompt: nn.Module) -> None:
        """Give attention extra rows: ``prompt(bt) -> "bt p d"``."""
        insert(self.prompts, name, prompt)

    def linear(self, path: str) -> AdaptedLinear:
        """Return the linear layer at ``path`` (``attn.qkv``, ``attn.proj``, ``mlp.fc1``, ...), open to deltas."""
        parent_path, _, child = path.rpartition(".")
        parent, layer = self.get_submodule(parent_path), self.get_submodule(path)
        if not isinstance(layer, nn.Linear):
            raise TypeError(f"{path} is a {type(layer).__name__}, not a linear layer: it cannot take a delta")
        if not isinstance(layer, AdaptedLinear):
            layer = AdaptedLinear(layer)
            parent.add_module(child, layer)
        return layer


class PromptTable(nn.Module):
    """Learned rows ``P`` of shape ``p q``, the same for every frame: ``dropout(project(P))``.

    Args:
        rows: initial values, as wide as the tokens if there is no projection.
        dropout: on the projected rows.
        project: from q to the width of the tokens; owned by the trunk, for blocks share it.
    """

    def __init__(self, rows: Float[Tensor, "p q"], dropout: float, project: Projection | None = None) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.project = project
        self.dropout = nn.Dropout(dropout)

    def forward(self, num_frames: int) -> Float[Tensor, "bt p d"]:
        rows = self.rows if self.project is None else self.project(self.rows)
        return self.dropout(rows).expand(num_frames, -1, -1)
