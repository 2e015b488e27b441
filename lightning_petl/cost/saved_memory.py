"""What training keeps for the backward pass, in bytes, counted as autograd saves it."""

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Saved(NamedTuple):
    """Bytes that are alive when the backward pass starts, and those that it brings back.

    Attributes:
        kept: of the distinct storages that autograd saves, the inputs of checkpointed modules among them. A storage
            counts once and whole, however many views of it are saved.
        recomputed: of the largest checkpointed module: what its recomputation saves beyond ``kept``.
    """

    kept: int
    recomputed: int

    @property
    def total(self) -> int:
        """Both."""
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
            result = (
                run()
            )  # alive until all is counted: no storage is freed and used again
    others = addresses(apart_from)
    sizes = [bytes_of(storages, apart_from=others | outer.keys()) for storages in inner]
    del result
    return Saved(bytes_of(outer, apart_from=others), max(sizes, default=0))


def saved_bytes_per_clip(
    run: Callable[[int], object], *, recomputed: Iterable[nn.Module] = ()
) -> Saved:
    """What one clip more in the batch saves: weights, and their copies in half precision, cancel out.

    Args:
        run: the forward pass of a batch of so many clips.
        recomputed: as :func:`saved_bytes`.
    """
    modules = list(recomputed)
    two, three = (
        saved_bytes(lambda clips=clips: run(clips), recomputed=modules)
        for clips in (2, 3)
    )
    return Saved(three.kept - two.kept, three.recomputed - two.recomputed)


@contextmanager
def collecting(storages: dict[int, Tensor]) -> Generator[None]:
    """Note what autograd saves meanwhile, by storage."""

    def pack(tensor: Tensor) -> Tensor:
        storages.setdefault(_address(tensor), tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


@contextmanager
def _watching_calls(
    module: nn.Module, calls: list[dict[int, Tensor]]
) -> Generator[None]:
    """Collect what each call of ``module`` saves, in place of the hooks around it."""
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
    """The storages of some tensors."""
    return {_address(tensor) for tensor in tensors}


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]  # data_ptr is 0 for fake tensors


def bytes_of(storages: dict[int, Tensor], apart_from: Iterable[int] = ()) -> int:
    """Of storages that :func:`collecting` noted."""
    return sum(
        storages[key].untyped_storage().nbytes()
        for key in storages.keys() - set(apart_from)
    )
