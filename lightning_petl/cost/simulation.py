"""One training step on tensors that have a shape and no memory: what it would allocate and compute."""

import copy
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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
_BLOCK = 512  # bytes: CUDA's caching allocator hands out whole ones


def _attention(query: Size, key: Size, value: Size, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: Size, query: Size, key: Size, value: Size, *args: Any, **kwargs: Any
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch counts the kernels of GPUs alone
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Allocations(TorchDispatchMode):
    """Counts the bytes of all storages that are alive, as ``torch.cuda.memory_allocated`` does, on any device.

    Attributes:
        now: bytes of what is alive.
        peak: the largest ``now`` so far.
    """

    def __init__(self, alive: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in alive:
            self.add(tensor)

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        key = cast(int, storage._cdata)  # pyright: ignore[reportPrivateUsage]  # data_ptr is 0 for fake tensors
        if key in self._sizes:
            return
        self._sizes[key] = -(-storage.nbytes() // _BLOCK) * _BLOCK
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


class Step(NamedTuple):
    """A training step of one process.

    Attributes:
        saved: bytes beside parameters that are kept for the backward pass, and those of the largest region recomputed.
        optimizer: bytes of the optimiser's state.
        peak: most bytes at a time, of parameters, gradients, optimiser state, batch and all that is computed.
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
) -> Step:
    """Run steps of ``model``, inside :func:`without_memory`.

    Args:
        model: all that is on the device.
        loss: the forward pass, in the precision of training.
        optimizer: of the parameters that train.
        recomputed: modules whose call is checkpointed.
        batch: tensors that the step is given.
        keep_gradients: their memory is not given back between updates, or a pass adds to those of the one before.
    """
    saved = saved_bytes(loss, recomputed=recomputed, apart_from=model.parameters())
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        total = loss()
        forward = counter.get_total_flops() // 2
        total.backward()
    model.zero_grad()
    updates = optimizer()
    peak = _peak(
        [*model.parameters(), *model.buffers(), *batch], loss, updates, keep_gradients
    )
    return Step(
        saved, size(state_of(updates)), peak, forward, counter.get_total_flops() // 2
    )


def state_of(optimizer: Optimizer) -> Iterator[Tensor]:
    """The tensors that an optimiser keeps."""
    values = (value for state in optimizer.state.values() for value in state.values())
    return (value for value in values if isinstance(value, Tensor))


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _peak(
    held: Iterable[Tensor],
    loss: Callable[[], Tensor],
    optimizer: Optimizer,
    keep_gradients: bool,
) -> int:
    with Allocations(held) as allocations:
        for _ in range(2):  # the optimiser's state is there from the second step on
            loss().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=not keep_gradients)
    return allocations.peak


def shapes(model: _Module) -> _Module:
    """A copy of a module on the meta device, which :func:`without_memory` takes."""
    parameters = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(
        model,
        parameters
        | {id(b): torch.empty_like(b, device="meta") for b in model.buffers()},
    )


@contextmanager
def without_memory(model: _Module) -> Generator[_Module]:
    """A copy of a module, on the CPU, and all tensors that are made inside: shapes alone."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.random.fork_rng([]):
        with FakeCopyMode(mode):
            copied = copy.deepcopy(model)
        _move(copied)
        yield copied


def _move(model: nn.Module) -> None:
    """To the CPU, one tensor by one: ``Module.to`` cannot swap what a fake copy still refers to."""
    moved: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            new = nn.Parameter(
                torch.empty_like(parameter, device="cpu"), parameter.requires_grad
            )
            setattr(module, name, moved.setdefault(id(parameter), new))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(
                module,
                name,
                moved.setdefault(id(buffer), torch.empty_like(buffer, device="cpu")),
            )
