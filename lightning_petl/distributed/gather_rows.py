"""Gather the rows of a tensor from all ranks, with a gradient."""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_petl.distributed.collectives import (
    own_rank,
    rank_count,
    several_ranks,
    sum_over_ranks,
)


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows of all ranks, in the order of their numbers; the backward pass sums the gradients of all ranks.

    All ranks must call it, and each must bring a tensor of the same shape. Without other ranks it returns x itself::

        rank 0                          rank 1
        x   [a]                         x   [b]
        -> [[a], [b]]                   -> [[a], [b]]
        gradient g of its copy          gradient h of its copy
        x.grad = (g + h)[0]             x.grad = (g + h)[1]
    """
    return cast(Tensor, _GatherRows.apply(x)) if several_ranks() else x


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = [torch.empty_like(x) for _ in range(rank_count())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.rows = len(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # a copy, for the sum is made in place and autograd may use the gradient again
        total = sum_over_ranks(gradient.contiguous().clone())
        return total[own_rank() * ctx.rows :][: ctx.rows]
