"""The page to read first: a frozen transformer block with places where methods plug in."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, NamedTuple, Protocol, cast, get_args

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from lightning_petl.backbones.linear import AdaptedLinear, insert
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
SLOTS: tuple[Slot, ...] = get_args(Slot)


class SlotModule(Protocol):
    """What sits in a slot: its output is added. ``patches_only`` says that it leaves the class token alone."""

    def __call__(self, x: Tokens, grid: Grid) -> Tokens: ...


class Part(NamedTuple):
    """Where a target of a method sits: row slice ``number`` of ``slices`` equal ones of the layer at ``path``."""

    path: str
    number: int = 0
    slices: int = 1

    @property
    def bias(self) -> str:
        """Name of its bias in the block."""
        return f"{self.path}.bias"

    @property
    def shares_bias(self) -> bool:
        """Whether the other slices have the same bias."""
        return self.slices > 1


class AdaptedBlock(nn.Module):
    """A timm ``Block`` under its own parameter names, with slots, prompts and linear deltas.

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
        if type(block) is not self.adopts:
            expected = (
                f"{self.adopts.__module__.rpartition('.')[2]}.{self.adopts.__name__}"
            )
            raise TypeError(
                f"{type(self).__name__} adopts timm's {expected}, not {type(block).__name__}"
            )
        for name, child in block.named_children():
            self.add_module(name, child)
        self.slots = nn.ModuleDict({slot: nn.ModuleDict() for slot in SLOTS})
        self.prompts = nn.ModuleDict()

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        x = self._plus(x, "before_attn", x, grid)
        h = self.attend(self.attn_in(self._with_prompts(x)), grid)[:, : x.shape[1]]
        h = self._plus(h, "after_attn", h, grid)
        x = self._plus(x + self.drop_path1(self.attn_out(h)), "beside_attn", x, grid)
        x = self._plus(x, "before_mlp", x, grid)
        h = self.mlp(self.mlp_in(x))
        h = self._plus(h, "after_mlp", h, grid)
        x = self._plus(x + self.drop_path2(self.mlp_out(h)), "beside_mlp", x, grid)
        return self._plus(x, "after_block", x, grid)

    def attend(self, x: Tokens, grid: Grid | None = None) -> Tokens:
        """Attention among the rows of each sequence. Without ``grid`` they are no patches of one frame."""
        return self.attn(x)

    def attn_in(self, x: Tokens) -> Tokens:
        """What attention is given."""
        return self.norm1(x)

    def attn_out(self, h: Tokens) -> Tokens:
        """What attention's output goes through before it is added."""
        return cast(nn.Module, self.ls1)(h)

    def mlp_in(self, x: Tokens) -> Tokens:
        """What the MLP is given."""
        return self.norm2(x)

    def mlp_out(self, h: Tokens) -> Tokens:
        """What the MLP's output goes through before it is added."""
        return cast(nn.Module, self.ls2)(h)

    def _plus(self, base: Tokens, slot: Slot, x: Tokens, grid: Grid) -> Tokens:
        for module in self.slots[slot].values():  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
            base = base + module(x, grid)
        return base

    def _with_prompts(self, x: Tokens) -> Float[Tensor, "bt n_and_p d"]:
        prompts = [prompt(x.shape[0]) for prompt in self.prompts.values()]
        return torch.cat([x, *prompts], dim=1) if prompts else x

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
            raise TypeError(
                f"{path} is a {type(layer).__name__}, not a linear layer: it cannot take a delta"
            )
        if not isinstance(layer, AdaptedLinear):
            layer = AdaptedLinear(layer)
            parent.add_module(child, layer)
        return layer

    def parts(self, target: str) -> list[Part]:
        """Return where ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, ``norm1`` or ``norm2`` sits in this block.

        Raises:
            ValueError: blocks of this family have no such part.
        """
        parts = self._parts()
        if target not in parts:
            raise ValueError(
                f"target {target!r} is not a part of this trunk's blocks; they have {', '.join(parts)}"
            )
        return parts[target]

    def _parts(self) -> dict[str, list[Part]]:
        parts = {name: [Part("attn.qkv", index, 3)] for index, name in enumerate("qkv")}
        parts |= {
            "proj": [Part("attn.proj")],
            "fc1": [Part("mlp.fc1")],
            "fc2": [Part("mlp.fc2")],
        }
        return parts | {
            "norm1": self._norms("norm1", "attn"),
            "norm2": self._norms("norm2", "mlp"),
        }

    def _norms(self, norm: str, branch: str) -> list[Part]:
        inner = self.get_submodule(branch).named_children()
        return [
            Part(norm),
            *(
                Part(f"{branch}.{name}")
                for name, m in inner
                if isinstance(m, nn.LayerNorm)
            ),
        ]

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what was adopted; deltas inside it come along."""
        yield from self.parameters(recurse=False)
        for name, child in self.named_children():
            if name not in ("slots", "prompts"):
                yield from child.parameters()


class PromptTable(nn.Module):
    """Learned rows ``P`` of shape ``p q``, the same for every frame: ``dropout(project(P))``.

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

    def forward(self, num_frames: int) -> Float[Tensor, "bt p d"]:
        rows = self.rows if self.project is None else self.project(self.rows)
        return self.dropout(rows).expand(num_frames, -1, -1)
