"""The page to read first: a frozen transformer block with places where methods plug in."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, NamedTuple, cast, get_args

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from lightning_petl.backbones.children import Extension
from lightning_petl.backbones.linear import AdaptedLinear, Layout
from lightning_petl.shapes import Grid, Tokens

Slot = Literal[
    "before_attn",
    "after_attn",
    "beside_attn",
    "before_mlp",
    "after_mlp",
    "beside_mlp",
    "after_block",
]
Projection = Callable[[Tensor], Tensor]
PromptRows = Float[Tensor, "bt p d"]
SLOTS: tuple[Slot, ...] = get_args(Slot)
# the only slot from which attention still carries patches to the class token
IN_FRONT_OF_ATTENTION: Slot = "before_attn"


class SlotModule(nn.Module, ABC):
    """Compute what is added to the tokens at one place of a block, or in front of the first block.

    Attributes:
        patches_only: its output is zero at the class token and the registers.
    """

    patches_only: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        """Return what is added to the tokens ``x``, whose layout ``grid`` knows."""


class Prompt(nn.Module, ABC):
    """Give attention rows that no patch stands for; they may depend on the tokens."""

    @abstractmethod
    def forward(self, x: Tokens, grid: Grid) -> PromptRows:
        """Return the rows to append to the tokens ``x``, whose layout ``grid`` knows."""


class LayerSlice(NamedTuple):
    """Say where a target of a method sits in its block.

    It is rows ``[number, number + 1) * out_features / slices`` of the layer at ``path``. With the width d, ``k`` of a
    fused layer is ``LayerSlice("attn.qkv", 1, 3)``, rows d to 2 d.
    """

    path: str
    number: int = 0
    slices: int = 1

    @property
    def bias(self) -> str:
        """Return the name of its bias in the block."""
        return f"{self.path}.bias"

    @property
    def shares_bias(self) -> bool:
        """Return whether the other slices have the same bias."""
        return self.slices > 1


class AdaptedBlock(nn.Module):
    """Adopt a timm ``Block`` under its own parameter names, with slots, prompts and linear deltas.

    With ``D[s]`` the sum of the modules in slot ``s`` (nothing, if empty) and ``P`` this block's prompts, which
    take part in attention only::

        x = x + D[before_attn](x)
        h = attend(attn_in([x; P]))[:n];  h = h + D[after_attn](h)
        x = x + attn_out(h)               + D[beside_attn](x)
        x = x + D[before_mlp](x)
        h = mlp(mlp_in(x));               h = h + D[after_mlp](h)
        x = x + mlp_out(h)                + D[beside_mlp](x)
        x = x + D[after_block](x)

    ``attn_in`` is ``norm1``, ``attn_out`` is ``ls1``, and so for the MLP; other families put other things there.

    Raises:
        TypeError: the block is of another class than the one it adopts.
    """

    adopts: ClassVar[type[nn.Module]] = Block
    norm1: nn.Module
    attn: nn.Module
    drop_path1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    drop_path2: nn.Module

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        # a subclass may have another forward pass, which would be lost
        if type(block) is not self.adopts:
            expected = f"{self.adopts.__module__.rpartition('.')[2]}.{self.adopts.__name__}"
            raise TypeError(
                f"{type(self).__name__} adopts timm's {expected}, not {type(block).__name__}"
            )
        # under timm's names, so that published weights load
        for name, child in block.named_children():
            self.add_module(name, child)
        self.slots = Extension({slot: Extension() for slot in SLOTS})
        self.prompts = Extension()
        self.layout = Layout()

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        x = self._plus(x, "before_attn", x, grid)
        h = self.attend(self.attn_in(with_prompts(x, self.prompts, grid)), grid)
        # what attention gave the prompts themselves is dropped
        h = h[:, : x.shape[1]]
        h = self._plus(h, "after_attn", h, grid)
        x = self._plus(
            x + self.drop_path1(self.attn_out(h)), "beside_attn", x, grid
        )
        x = self._plus(x, "before_mlp", x, grid)
        self.layout.grid = grid
        h = self.mlp(self.mlp_in(x))
        h = self._plus(h, "after_mlp", h, grid)
        x = self._plus(x + self.drop_path2(self.mlp_out(h)), "beside_mlp", x, grid)
        return self._plus(x, "after_block", x, grid)

    def attend(self, x: Tokens, grid: Grid | None = None) -> Tokens:
        """Return attention among the rows of each sequence, projection included.

        Args:
            x: rows behind the norm, prompts included.
            grid: their layout; None where they are no patches of one frame. Then nothing is rotated.
        """
        self.layout.grid = grid
        return self.attention(x, grid)

    def attention(self, x: Tokens, grid: Grid | None) -> Tokens:
        """Run the family's own attention; :meth:`attend` is what is called."""
        return self.attn(x)

    def attn_in(self, x: Tokens) -> Tokens:
        """Return what attention is given."""
        return self.norm1(x)

    def attn_out(self, h: Tokens) -> Tokens:
        """Return attention's output as it is added."""
        return cast(nn.Module, self.ls1)(h)

    def mlp_in(self, x: Tokens) -> Tokens:
        """Return what the MLP is given."""
        return self.norm2(x)

    def mlp_out(self, h: Tokens) -> Tokens:
        """Return the MLP's output as it is added."""
        return cast(nn.Module, self.ls2)(h)

    def _plus(self, base: Tokens, slot: Slot, x: Tokens, grid: Grid) -> Tokens:
        for module in self.slot(slot).values():
            base = base + module(x, grid)
        return base

    def slot(self, slot: Slot) -> Extension:
        """Return the modules in a slot by name."""
        return cast(Extension, self.slots[slot])

    def add(self, slot: Slot, name: str, module: SlotModule) -> None:
        """Put a module into a slot, under ``name``."""
        self.slot(slot).insert(name, module)

    def add_prompt(self, name: str, prompt: Prompt) -> None:
        """Give attention extra rows in this block."""
        self.prompts.insert(name, prompt)

    def linear(self, path: str) -> AdaptedLinear:
        """Return the linear layer at ``path`` (``attn.qkv``, ``attn.proj``, ``mlp.fc1``, ...), open to deltas."""
        parent_path, _, child = path.rpartition(".")
        parent = self.get_submodule(parent_path)
        layer = self.get_submodule(path)
        if not isinstance(layer, nn.Linear):
            raise TypeError(
                f"{path} is a {type(layer).__name__}, not a linear layer: it cannot take a delta"
            )
        if not isinstance(layer, AdaptedLinear):
            layer = AdaptedLinear(layer)
            parent.add_module(child, layer)
        # EVA's fused layer is adapted before it can know its block
        layer.layout = self.layout
        return layer

    def parts(self, target: str) -> list[LayerSlice]:
        """Return where ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, ``norm1`` or ``norm2`` sits in this block.

        Raises:
            ValueError: blocks of this family have no such part.
        """
        parts = self._parts()
        if target not in parts:
            raise ValueError(
                f"target {target!r} is not a part of this trunk's blocks; they have "
                f"{', '.join(parts)}"
            )
        return parts[target]

    def _parts(self) -> dict[str, list[LayerSlice]]:
        return {
            "q": [LayerSlice("attn.qkv", 0, 3)],
            "k": [LayerSlice("attn.qkv", 1, 3)],
            "v": [LayerSlice("attn.qkv", 2, 3)],
            "proj": [LayerSlice("attn.proj")],
            "fc1": [LayerSlice("mlp.fc1")],
            "fc2": [LayerSlice("mlp.fc2")],
            "norm1": self._norms("norm1", "attn"),
            "norm2": self._norms("norm2", "mlp"),
        }

    def _norms(self, norm: str, branch: str) -> list[LayerSlice]:
        """Return a norm and those inside the branch behind it, such as EVA's."""
        norms = [LayerSlice(norm)]
        for name, module in self.get_submodule(branch).named_children():
            if isinstance(module, nn.LayerNorm):
                norms.append(LayerSlice(f"{branch}.{name}"))
        return norms

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what was adopted; deltas inside it come along."""
        yield from self.parameters(recurse=False)
        for child in self.children():
            if not isinstance(child, Extension):
                yield from child.parameters()


class PromptTable(Prompt):
    """Learn rows ``P`` of shape ``p q``, the same for every frame: ``dropout(project(P))``.

    Args:
        rows: initial values, as wide as the tokens if there is no projection.
        dropout: on the projected rows.
        project: from q to the width of the tokens; owned by the trunk, for blocks share it.
    """

    def __init__(
        self,
        rows: Float[Tensor, "p q"],
        dropout: float,
        project: Projection | None = None,
    ) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.project = project
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tokens, grid: Grid) -> PromptRows:
        rows = self.rows if self.project is None else self.project(self.rows)
        # len(x) would make torch.export fix the number of clips
        return self.dropout(rows).expand(x.shape[0], -1, -1)


def with_prompts(
    x: Tokens, prompts: Extension, grid: Grid
) -> Float[Tensor, "bt n_and_p d"]:
    """Return tokens with the rows of all prompts behind them: patches keep their places."""
    if len(prompts) == 0:
        return x
    rows = [prompt(x, grid) for prompt in prompts.values()]
    return torch.cat([x, *rows], dim=1)
