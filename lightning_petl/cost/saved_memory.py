"""Count the bytes that training keeps for the backward pass, as autograd saves them."""

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Saved(NamedTuple):
    """Hold the bytes that are alive when the backward pass starts, and those that it computes again.

    Attributes:
        kept: of the distinct storages that autograd saves, the inputs of checkpointed modules among them. A storage
            counts once and whole, however many views of it are saved.
        recomputed: of the largest checkpointed module: what its recomputation saves beyond ``kept``.
    """

    kept: int
    recomputed: int

    @property
    def total(self) -> int:
        """Return the bytes of both, which are alive at the same time."""
        return self.kept + self.recomputed


def saved_bytes(
    run: Callable[[], object],
    *,
    recomputed: Iterable[nn.Module] = (),
    apart_from: Iterable[Tensor] = (),
) -> Saved:
    """Count what a forward pass saves for its backward pass, parameters among it.

    Saved-tensor hooks do not see into checkpointed regions. ``recomputed`` names the modules that are called in one;
    each is watched by hooks of its own. The graph of such a pass cannot run backward.

    Args:
        run: the forward pass; it works on fake tensors, too.
        recomputed: the modules whose call is checkpointed.
        apart_from: tensors that do not count, such as the parameters.
    """
    outer: dict[int, Tensor] = {}
    inner: list[dict[int, Tensor]] = []
    with ExitStack() as stack:
        for module in recomputed:
            stack.enter_context(_watching_calls(module, inner))
        with collecting(outer):
            # alive until all is counted: an address that is freed could be used again
            result = run()
    others = addresses(apart_from)
    sizes: list[int] = []
    for storages in inner:
        sizes.append(bytes_of(storages, apart_from=others | outer.keys()))
    del result
    return Saved(bytes_of(outer, apart_from=others), max(sizes, default=0))


def saved_bytes_per_clip(
    run: Callable[[int], object], *, recomputed: Iterable[nn.Module] = ()
) -> Saved:
    """Return what one clip more in the batch saves.

    It is the difference of batches of two and three clips, in which weights, and their copies in half
    precision, cancel out.

    Args:
        run: the forward pass of a batch of so many clips.
        recomputed: as :func:`saved_bytes`.
    """
    modules = list(recomputed)
    two = saved_bytes(lambda: run(2), recomputed=modules)
    three = saved_bytes(lambda: run(3), recomputed=modules)
    return Saved(three.kept - two.kept, three.recomputed - two.recomputed)


@contextmanager
def collecting(storages: dict[int, Tensor]) -> Generator[None]:
    """Collect the tensors that autograd saves inside, one for each storage, by its address."""

    def pack(tensor: Tensor) -> Tensor:
        storages.setdefault(_address(tensor), tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


@contextmanager
def _watching_calls(
    module: nn.Module, calls: list[dict[int, Tensor]]
) -> Generator[None]:
    """Append to ``calls`` what each call of ``module`` saves; hooks around it do not see that."""
    # a stack: a module may be called inside its own call
    contexts: list[Any] = []

    def before(module: nn.Module, args: Any) -> None:
        calls.append({})
        contexts.append(collecting(calls[-1]))
        contexts[-1].__enter__()

    def behind(module: nn.Module, args: Any, output: Any) -> None:
        contexts.pop().__exit__(None, None, None)

    handles = [
        module.register_forward_pre_hook(before),
        module.register_forward_hook(behind),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def addresses(tensors: Iterable[Tensor]) -> set[int]:
    """Return the addresses of the storages of some tensors."""
    return set(map(_address, tensors))


def _address(tensor: Tensor) -> int:
    # private in torch 2.13: the address of the storage object; data_ptr is 0 for fake tensors
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def bytes_of(storages: dict[int, Tensor], apart_from: Iterable[int] = ()) -> int:
    """Return the bytes of storages that :func:`collecting` found."""
    return sum(
        storages[key].untyped_storage().nbytes()
        for key in storages.keys() - set(apart_from)
    )
