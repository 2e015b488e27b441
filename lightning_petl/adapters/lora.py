"""LoRA (Hu et al., ICLR 2022) with rsLoRA, DoRA and weight-dependent inits."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lightning_petl.adapters.adapter import (
    Adapter,
    require_distinct,
    require_positive,
)
from lightning_petl.backbones.block import AdaptedBlock, LayerSlice
from lightning_petl.backbones.children import Reference
from lightning_petl.backbones.encoder import Blocks, Encoder
from lightning_petl.backbones.linear import AdaptedLinear, Inner, LinearDelta
from lightning_petl.shapes import Grid

LoRATarget = Literal["q", "k", "v", "o", "fc1", "fc2", "fc1_g", "fc1_x"]
LoRAInit = Literal["kaiming", "gaussian", "pissa", "olora", "orthogonal"]


class LoRADelta(LinearDelta):
    """Compute ``y[rows_k] = inner(x)[rows_k] + s B_k A_k dropout(x)`` for row slices k of one linear layer.

    ``A`` has shape ``slices r in`` and ``B`` ``slices out r``. Inits that start at a non-zero ``B A`` keep a frozen
    copy of both and subtract its product, which leaves the trunk's weight untouched.
    """

    rows: Int64[Tensor, " k"]
    A0: Float[Tensor, "k r i"] | None
    B0: Float[Tensor, "k o r"] | None

    def __init__(
        self,
        linear: AdaptedLinear,
        slices: list[int],
        num_slices: int,
        lora: "LoRA",
    ) -> None:
        super().__init__()
        out_features = linear.out_features // num_slices
        starts_at_zero = lora.init in ("kaiming", "gaussian")
        # beside a deferred trunk, which has no memory yet, these have: nothing in them comes from its weights
        device = (
            None
            if linear.weight.is_meta and starts_at_zero
            else linear.weight.device
        )
        self.num_slices = num_slices
        self.register_buffer(
            "rows", torch.tensor(slices, device=device), persistent=False
        )
        self.scale = lora.alpha / (
            math.sqrt(lora.rank) if lora.rslora else lora.rank
        )
        self.dropout = nn.Dropout(lora.dropout)
        self.A = nn.Parameter(
            torch.empty(len(slices), lora.rank, linear.in_features, device=device)
        )
        self.B = nn.Parameter(
            torch.zeros(len(slices), out_features, lora.rank, device=device)
        )
        weight = (
            linear.weight.detach().float().unflatten(0, (num_slices, -1))[slices]
        )
        initialize(self.A, self.B, weight, lora.init, self.scale)
        self.register_buffer(
            "A0", None if starts_at_zero else self.A.detach().clone()
        )
        self.register_buffer(
            "B0", None if starts_at_zero else self.B.detach().clone()
        )

    def forward(
        self, x: Float[Tensor, "*batch i"], inner: Inner, grid: Grid | None = None
    ) -> Float[Tensor, "*batch o"]:
        return self.add_update(inner(x), x, self.dropout(x))

    def add_update(
        self,
        y: Float[Tensor, "*batch o"],
        x: Float[Tensor, "*batch i"],
        dropped: Float[Tensor, "*batch i"],
    ) -> Float[Tensor, "*batch o"]:
        """Return ``y + s (B A dropped - B0 A0 x)`` on the adapted rows."""
        update = self.update(dropped, self.A, self.B)
        if self.A0 is not None and self.B0 is not None:
            update = update - self.update(x, self.A0, self.B0)
        return self.add_rows(y, update)

    def add_rows(
        self, y: Float[Tensor, "*batch o"], rows: Float[Tensor, "*batch k s"]
    ) -> Float[Tensor, "*batch o"]:
        """Add to the adapted rows of ``y``."""
        # out of place: autograd may have kept y
        whole = y.unflatten(-1, (self.num_slices, -1))
        return whole.index_add(-2, self.rows, rows.to(y.dtype)).flatten(-2)

    def update(
        self,
        x: Float[Tensor, "*batch i"],
        A: Float[Tensor, "k r i"],
        B: Float[Tensor, "k o r"],
    ) -> Float[Tensor, "*batch k o"]:
        """Return ``s B A x`` for every slice."""
        z = F.linear(x, A.flatten(0, 1)).unflatten(-1, A.shape[:2])
        return self.scale * torch.einsum("...kr,kor->...ko", z, B)

    def weight_update(self) -> Float[Tensor, "o i"]:
        """Return ``s B A`` at its rows of the whole weight, zero elsewhere."""
        product = self.B @ self.A
        if self.A0 is not None and self.B0 is not None:
            product = product - self.B0 @ self.A0
        whole = product.new_zeros(self.num_slices, *product.shape[1:])
        return whole.index_add(0, self.rows, self.scale * product).flatten(0, 1)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight + self.weight_update(), bias


class DoRADelta(LoRADelta):
    """Compute ``y = b + m / |W + sBA|_row * (W x + s B A x)``, the norm detached (Liu et al., ICML 2024).

    Dropout, as in the authors' code, reaches all that the ratio scales: with z = dropout(x) and the ratio g,
    ``y = b + W x + (g - 1) W z + g s B A z``, written below as ``b + g (W z + s B A z) + W (x - z)``.
    ``m``, one a row of the adapted slices, is the row norm of ``W + sBA`` at init.
    """

    exclusive = "DoRA"

    def __init__(
        self,
        linear: AdaptedLinear,
        slices: list[int],
        num_slices: int,
        lora: "LoRA",
    ) -> None:
        super().__init__(linear, slices, num_slices, lora)
        self.linear = Reference(linear)
        self.magnitude = nn.Parameter(self._row_norm(linear.weight)[slices].clone())

    def forward(
        self, x: Float[Tensor, "*batch i"], inner: Inner, grid: Grid | None = None
    ) -> Float[Tensor, "*batch o"]:
        weight = self.linear.module.weight
        bias = self.linear.module.bias
        dropped = self.dropout(x)
        y = self._ratio(weight) * self.add_update(
            F.linear(dropped, weight), dropped, dropped
        )
        if self.training and self.dropout.p > 0:
            y = y + self._frozen(x - dropped, weight)
        return y if bias is None else y + bias  # pyright: ignore[reportUnnecessaryComparison]

    def _frozen(
        self, x: Float[Tensor, "*batch i"], weight: Float[Tensor, "o i"]
    ) -> Float[Tensor, "*batch o"]:
        y = F.linear(x, weight)
        if self.A0 is None or self.B0 is None:
            return y
        return self.add_rows(y, -self.update(x, self.A0, self.B0))

    def _ratio(self, weight: Float[Tensor, "o i"]) -> Float[Tensor, " o"]:
        norm = self._row_norm(weight)
        return (
            torch.ones_like(norm)
            .index_copy(0, self.rows, self.magnitude / norm[self.rows])
            .flatten()
        )

    def _row_norm(
        self, weight: Float[Tensor, "o i"]
    ) -> Float[Tensor, "slices rows"]:
        # a constant of the gradient, as published
        norm = (weight.float() + self.weight_update()).norm(dim=1).detach()
        return norm.unflatten(0, (self.num_slices, -1))

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return self._ratio(weight)[:, None] * (weight + self.weight_update()), bias


@dataclass(frozen=True, kw_only=True)
class LoRA(Adapter):
    """Compute ``y = W x + b + s B A dropout(x)``, s = alpha / rank; B is zero at init.

    On timm's fused qkv each of q, k, v has its own A by default: ``rank (in + out)`` parameters a target.

    Args:
        rank: r.
        alpha: numerator of the scale; 8 with rank 8, so 1 by default.
        targets: any of q, k, v, o (attention's output), fc1, fc2; a SwiGLU's fc1 is fc1_g (gate) and fc1_x (value).
        fused: ``per_slice``: one A for each of q, k, v; ``shared``: one A and a tall B over all of qkv, as peft.
        dropout: on x.
        rslora: scale alpha / sqrt(rank) (Kalajdzievski, 2023).
        dora: also train the row norms of the weight.
        init: ``kaiming`` (a = sqrt 5) or ``gaussian`` (std 1/r) with B zero; ``pissa`` (principal singular vectors),
            ``olora`` (QR), ``orthogonal``: B A is not zero and its first value is subtracted.
        blocks: the blocks that it goes into.

    Example, 6 blocks of width 64, q and v, ``A`` of 2 x 64 and ``B`` of 64 x 2::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.LoRA(rank=2)])
        >>> sum(p.numel() for p in vit.parameters() if p.requires_grad)
        3072
    """

    reads_text: ClassVar[bool] = True

    rank: int = 8
    alpha: float = 8.0
    targets: tuple[LoRATarget, ...] = ("q", "v")
    fused: Literal["per_slice", "shared"] = "per_slice"
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False
    init: LoRAInit = "kaiming"
    blocks: Blocks = "all"

    def __post_init__(self) -> None:
        require_positive(rank=self.rank, alpha=self.alpha)
        if not self.targets:
            raise ValueError("targets is empty: choose any of q, k, v, o, fc1, fc2")
        require_distinct(targets=self.targets)
        if self.fused == "shared" and 0 < len(set(self.targets) & set("qkv")) < 3:
            raise ValueError(
                f"fused: shared adapts q, k and v together; targets are {', '.join(self.targets)}"
            )

    def attach(self, vit: Encoder) -> None:
        for block in vit.select(self.blocks):
            parts = list[LayerSlice]()
            for target in self.targets:
                parts += block.parts("proj" if target == "o" else target)
            paths = dict.fromkeys(part.path for part in parts)
            apart = "attn.q_proj" in paths and "attn.qkv" not in paths
            if self.fused == "shared" and apart:
                raise ValueError(
                    "fused: shared adapts q, k and v together; this trunk has them apart: use per_slice"
                )
            for path in paths:
                self._add(
                    block, path, [part for part in parts if part.path == path]
                )

    def _add(self, block: AdaptedBlock, path: str, parts: list[LayerSlice]) -> None:
        shared = self.fused == "shared" and path == "attn.qkv"
        # shared: one A and one B for all rows, as peft has it
        slices = [0] if shared else [part.number for part in parts]
        num_slices = 1 if shared else parts[0].slices
        linear = block.linear(path)
        delta = (DoRADelta if self.dora else LoRADelta)(
            linear, slices, num_slices, self
        )
        linear.add_delta(self.name, delta)


def initialize(
    A: Float[Tensor, "k r i"],
    B: Float[Tensor, "k o r"],
    weight: Float[Tensor, "k o i"],
    init: LoRAInit,
    scale: float,
) -> None:
    """Set A and B in place.

    ``pissa``: W = U S V^T, A = sqrt(S_r / s) V_r^T, B = U_r sqrt(S_r / s) (Meng et al., 2024).
    ``olora``: W = Q R, A = R_r, B = Q_r (Buyukakyuz, 2024). ``orthogonal``: random orthonormal rows and columns.
    """
    rank = A.shape[1]
    with torch.no_grad():
        if init == "kaiming":
            # each slice alone: the fan is that of one matrix
            for slice_ in A:
                nn.init.kaiming_uniform_(slice_, a=math.sqrt(5))
        elif init == "gaussian":
            A.normal_(std=1 / rank)
        elif init == "orthogonal":
            for a, b in zip(A, B, strict=True):
                nn.init.orthogonal_(a)
                nn.init.orthogonal_(b)
        elif init == "olora":
            Q, R = torch.linalg.qr(weight)
            A.copy_(R[:, :rank])
            B.copy_(Q[:, :, :rank])
        else:
            U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
            root = (S[:, :rank] / scale).sqrt()
            A.copy_(root[:, :, None] * Vh[:, :rank])
            B.copy_(U[:, :, :rank] * root[:, None])
