"""Simulate a training step on tensors without memory, and count what it would allocate and compute."""

import copy
import weakref
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Size, Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from typing_extensions import override

from lightning_petl.cost.saved_memory import Saved, saved_bytes

_Module = TypeVar("_Module", bound=nn.Module)

# bytes: the caching allocator of CUDA rounds every allocation up to a multiple of it
_BLOCK = 512


def _attention(
    query: Size, key: Size, value: Size, *args: Any, **kwargs: Any
) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: Size, query: Size, key: Size, value: Size, *args: Any, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch 2.13 counts the attention kernels of GPUs alone, and the simulation runs on the CPU
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def operation_counter() -> FlopCounterMode:
    """Return a context that counts operations, two a multiply-accumulate, those of attention on a CPU among them."""
    return FlopCounterMode(display=False, custom_mapping=_ATTENTION)


class Allocations(TorchDispatchMode):
    """Count the bytes of all storages that are alive, as ``torch.cuda.memory_allocated`` does, on any device.

    Attributes:
        now: bytes that are alive.
        peak: the largest ``now`` so far.
    """

    def __init__(self, alive: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in alive:
            self.add(tensor)

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        # private in torch 2.13: the address of the storage object; data_ptr is 0 for fake tensors
        key = cast(int, storage._cdata)  # pyright: ignore[reportPrivateUsage]
        if key in self._sizes:
            return
        blocks = -(-storage.nbytes() // _BLOCK)
        self._sizes[key] = blocks * _BLOCK
        self.now += self._sizes[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key)

    @override
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self.add(value)
        return result


class StepCost(NamedTuple):
    """Hold the cost of a training step of one process.

    Attributes:
        saved: bytes beside parameters that are kept for the backward pass, and those of the largest
            region that is recomputed.
        optimizer: bytes of the state of the optimizer.
        peak: most bytes at a time, of parameters, gradients, optimizer state, batch and all that is computed.
        forward: multiply-accumulates of the forward pass.
        step: multiply-accumulates of forward and backward pass.
    """

    saved: Saved
    optimizer: int
    peak: int
    forward: int
    step: int


def simulate(
    model: nn.Module,
    loss: Callable[[], Tensor],
    optimizer: Callable[[], Optimizer],
    *,
    recomputed: Iterable[nn.Module] = (),
    batch: Iterable[Tensor] = (),
    keep_gradients: bool = False,
) -> StepCost:
    """Run steps of ``model`` inside :func:`without_memory`, and count their cost.

    Args:
        model: all that is on the device.
        loss: the forward pass, in the precision of training.
        optimizer: of the parameters that train.
        recomputed: modules whose call is checkpointed.
        batch: tensors that the step is given.
        keep_gradients: the memory of gradients is not freed between updates.
    """
    saved = saved_bytes(loss, recomputed=recomputed, apart_from=model.parameters())
    with operation_counter() as counter:
        total = loss()
        # the counter takes a multiply-accumulate for two operations
        forward = counter.get_total_flops() // 2
        total.backward()
    model.zero_grad()
    updates = optimizer()
    held = [*model.parameters(), *model.buffers(), *batch]
    peak = _peak(held, loss, updates, keep_gradients)
    return StepCost(
        saved=saved,
        optimizer=size(state_of(updates)),
        peak=peak,
        forward=forward,
        step=counter.get_total_flops() // 2,
    )


def state_of(optimizer: Optimizer) -> Iterator[Tensor]:
    """Yield the tensors that an optimizer keeps."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                yield value


def size(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the elements of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _peak(
    held: Iterable[Tensor],
    loss: Callable[[], Tensor],
    optimizer: Optimizer,
    keep_gradients: bool,
) -> int:
    with Allocations(held) as allocations:
        # twice: the state of the optimizer is allocated in the first step, and there in the second
        for _ in range(2):
            loss().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=not keep_gradients)
    return allocations.peak


def shapes(model: _Module) -> _Module:
    """Return a copy of a module on the meta device, which :func:`without_memory` takes."""
    # what deepcopy finds in this memo it does not copy, so that no memory is allocated for a tensor
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


@contextmanager
def without_memory(model: _Module) -> Generator[_Module]:
    """Yield a copy of a module on the CPU. Its tensors, and all that are made inside, have shapes alone."""
    with (
        FakeTensorMode(allow_non_fake_inputs=True) as mode,
        torch.random.fork_rng([]),
    ):
        with FakeCopyMode(mode):
            copied = copy.deepcopy(model)
        _move(copied)
        yield copied


def _move(model: nn.Module) -> None:
    """Move all tensors of a fake copy to the CPU, one by one.

    ``Module.to`` (torch 2.13) cannot swap tensors that the fake copy still refers to.
    """
    # tensors that two modules share stay shared
    moved: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in moved:
                empty = torch.empty_like(parameter, device="cpu")
                moved[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
            setattr(module, name, moved[id(parameter)])
        for name, buffer in module.named_buffers(recurse=False):
            if id(buffer) not in moved:
                moved[id(buffer)] = torch.empty_like(buffer, device="cpu")
            setattr(module, name, moved[id(buffer)])
