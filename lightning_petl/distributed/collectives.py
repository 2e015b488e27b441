"""Exchange values between the ranks of a run.

All ranks must call each of these functions that exchanges something, in the same order: where one
rank leaves a call out, the others wait for it until the timeout of their process group. Without other
ranks each function answers at once for the only one. An example with two ranks::

    rank 0                                rank 1
    gather_objects("a")  -> ["a", "b"]    gather_objects("b")  -> ["a", "b"]
    union_over_ranks({1}) -> {1, 2}       union_over_ranks({2}) -> {1, 2}
    any_rank(True, cpu)  -> True          any_rank(False, cpu) -> True
    broadcast_object("a") -> "a"          broadcast_object("b") -> "a"
    sum_over_ranks([1.]) -> [3.]          sum_over_ranks([2.]) -> [3.]
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_T = TypeVar("_T")


def several_ranks() -> bool:
    """Return whether this process has others to communicate with."""
    return rank_count() > 1


def rank_count() -> int:
    """Return the number of ranks, 1 without a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


def own_rank() -> int:
    """Return the number of this rank, from 0."""
    return dist.get_rank() if several_ranks() else 0


def is_first_rank() -> bool:
    """Return whether this process is rank 0, which writes files."""
    return own_rank() == 0


def gather_objects(value: _T) -> list[_T]:
    """Return the values of all ranks, in the order of their numbers. All ranks must call it.

    Args:
        value: what pickle can copy; it may differ in size from rank to rank.
    """
    if not several_ranks():
        return [value]
    ranks: list[Any] = [None] * rank_count()
    dist.all_gather_object(ranks, value)
    return ranks


def gather_objects_on_first(value: _T) -> list[_T]:
    """Return the values of all ranks on rank 0, an empty list elsewhere. All ranks must call it."""
    if not several_ranks():
        return [value]
    ranks: list[Any] | None = [None] * rank_count() if is_first_rank() else None
    dist.gather_object(value, ranks)
    return ranks or []


def broadcast_object(value: _T) -> _T:
    """Return the value of rank 0. All ranks must call it; what the others give is dropped."""
    values = [value]
    if several_ranks():
        dist.broadcast_object_list(values)
    return values[0]


def union_over_ranks(found: set[_T]) -> set[_T]:
    """Return the union of the sets of all ranks. All ranks must call it."""
    return set[_T]().union(*gather_objects(found))


def any_rank(found: bool, device: torch.device) -> bool:
    """Return whether ``found`` is true on any rank. All ranks must call it.

    It sends one integer. :func:`gather_objects` pickles its values and sends their sizes first.

    Args:
        found: the answer of this rank.
        device: where the backend of the process group communicates.
    """
    if not several_ranks():
        return found
    flag = torch.tensor(int(found), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def sum_over_ranks(x: Tensor) -> Tensor:
    """Add up a tensor over all ranks, in place, and return it. All ranks must call it."""
    if several_ranks():
        dist.all_reduce(x, dist.ReduceOp.SUM)
    return x


def max_over_ranks(x: Tensor) -> Tensor:
    """Take the largest of each element over all ranks, in place. All ranks must call it."""
    if several_ranks():
        dist.all_reduce(x, dist.ReduceOp.MAX)
    return x


def min_over_ranks(x: Tensor) -> Tensor:
    """Take the smallest of each element over all ranks, in place. All ranks must call it."""
    if several_ranks():
        dist.all_reduce(x, dist.ReduceOp.MIN)
    return x


@torch.no_grad()
def broadcast_tensors(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors with those of rank 0, in place. All ranks must call it, inside a process group."""
    for tensor in tensors:
        dist.broadcast(tensor, 0)
