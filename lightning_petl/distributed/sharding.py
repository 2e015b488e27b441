"""Sharding of a model over ranks, block by block (FSDP2; Zhao et al., 2023, as ``fully_shard``)."""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.encoder import Encoder
from lightning_petl.backbones.vit import Reader, VideoViT


def shard(model: nn.Module, mesh: DeviceMesh, entries: Sequence[str] = ()) -> None:
    """Leave each rank its share of every parameter: rows ``rank n / ranks ... (rank + 1) n / ranks`` of dimension 0.

    A block with its adapters is one unit, so is each tap of a reader, and what is left is the last: a unit is whole
    while it computes, and nothing else is. Parameters keep their dtype: a unit may hold frozen bfloat16 and trainable
    float32 side by side, for only what trains is reduced, and that is all float32. Gradients are the mean over ranks;
    frozen parameters get none, and none is sent for them. What runs in front of all that trains is not gathered again
    for a backward pass that does not come there.

    A scalar cannot be shared out: it stays whole on all ranks, and so does its gradient.

    Args:
        model: sharded in place; a model that is sharded already stays as it is.
        mesh: of one dimension, the ranks.
        entries: methods of ``model`` beside ``forward`` that use its parameters.
    """
    if isinstance(model, FSDPModule):
        return
    scalars = {p for p in model.parameters() if p.ndim == 0}
    for unit in [*units(model), model]:
        fully_shard(unit, mesh=mesh, ignored_params=scalars)
    for unit in _without_backward(model):
        cast(FSDPModule, unit).set_unshard_in_backward(
            False
        )  # or torch prefetches it there
    for entry in entries:
        register_fsdp_forward_method(model, entry)
    for scalar in scalars:
        scalar.data = scalar.data.to(mesh.device_type)
        if scalar.requires_grad:
            scalar.register_post_accumulate_grad_hook(_average)


def units(model: nn.Module) -> Iterator[nn.Module]:
    """What is sharded as a whole, before the rest: the blocks, and the taps of readers, which are called apart."""
    for module in model.modules():
        if isinstance(module, AdaptedBlock):
            yield module
        elif isinstance(module, Reader) and isinstance(module.taps, nn.ModuleDict):
            yield from cast(nn.ModuleDict, module.taps).children()


def _without_backward(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks that run under ``no_grad``."""
    for encoder in model.modules():
        if isinstance(encoder, Encoder):
            yield from encoder.blocks[: max(0, encoder.frozen_stages - 1)]


def gathered_bytes(model: nn.Module, ranks: int) -> int:
    """Bytes of the weights that a training pass of a sharded model gathers on each rank.

    The forward pass gathers all, the backward pass once more all units that it reaches; the last unit stays whole in
    between. Rows are filled up to a multiple of ``ranks``.
    """
    forward = {id(p): p for p in model.parameters() if p.ndim > 0}
    twice = {id(p) for unit in units(model) for p in unit.parameters()}
    twice -= {id(p) for unit in _without_backward(model) for p in unit.parameters()}
    return sum(_filled(p, ranks) * (1 + (key in twice)) for key, p in forward.items())


def gradient_bytes(
    model: nn.Module, ranks: int = 1, unreachable: Container[str] = ()
) -> int:
    """Bytes of the gradients that an update reduces: of what trains and is reached.

    Args:
        model: sharded or not.
        ranks: that share its rows out, which are filled up to a multiple of it.
        unreachable: names of parameters that get no gradient.
    """
    trained = (
        p
        for name, p in model.named_parameters()
        if p.requires_grad and name not in unreachable
    )
    return sum(_filled(p, ranks) for p in trained)


def shared_bytes(parameters: Iterable[Tensor], ranks: int) -> int:
    """Bytes of what each of ``ranks`` holds of some parameters; scalars are whole."""
    return sum(_filled(p, ranks) // (ranks if p.ndim > 0 else 1) for p in parameters)


def _filled(parameter: Tensor, ranks: int) -> int:
    rows = -(-len(parameter) // ranks) * ranks if parameter.ndim > 0 else 1
    return rows * parameter.shape[1:].numel() * parameter.element_size()


@torch.no_grad()
def materialise(vit: VideoViT, device: torch.device) -> None:
    """Give the blocks of a deferred trunk memory and weights, one after the other; of a sharded one, its shares alone.

    All ranks must call it: the first computes the hash of the weights for all.

    Raises:
        ValueError: what a method adds was computed from weights that were not there yet.
    """
    if vit.source is None:
        return
    state = vit.source.open()
    for index, block in enumerate(vit.blocks):
        names = {name for name, p in block.named_parameters() if p.is_meta}
        _require_in_file(
            vit, {f"blocks.{index}.{name}" for name in names} - state.keys()
        )
        block._apply(lambda t: torch.empty_like(t, device=device) if t.is_meta else t)  # pyright: ignore[reportPrivateUsage]
        parameters = dict(block.named_parameters())
        for name in names:
            parameters[name].copy_(
                share(state[f"blocks.{index}.{name}"], parameters[name])
            )
    told = [vit.source.weights_hash() if is_first_rank() else ""]
    if several_ranks():
        dist.broadcast_object_list(told)
    vit.weights_hash, vit.source = told[0], None


def _require_in_file(vit: VideoViT, lacking: set[str]) -> None:
    if lacking:
        name = min(lacking)
        raise ValueError(
            f"backbone.deferred: {vit.owners.get(name, 'a method')} computes {name} from weights that no rank has yet: "
            "choose another initialisation (LoRA's, not PiSSA's or DoRA's), or deferred: false"
        )


def whole(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor on the first rank's CPU, the share elsewhere; any other tensor as it is.

    All ranks must call it.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    full = cast(DTensor, tensor.detach()).full_tensor()
    return full.cpu() if is_first_rank() else tensor


def share(full: Tensor, like: Tensor) -> Tensor:
    """This rank's share of a tensor that every rank has whole, laid out as ``like``; no rank sends anything."""
    if not isinstance(like, DTensor) or isinstance(full, DTensor):
        return full
    return distribute_tensor(
        full.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def several_ranks() -> bool:
    """Whether there is anybody to agree with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first_rank() -> bool:
    """Whether this process is the one that writes."""
    return not several_ranks() or dist.get_rank() == 0


def united(found: set[Any]) -> set[Any]:
    """What any rank found. All ranks must call it."""
    return set[Any]().union(*of_all_ranks(found))


def of_all_ranks(value: Any) -> list[Any]:
    """Return the values of all ranks, in the order of their numbers. All ranks must call it."""
    if not several_ranks():
        return [value]
    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, value)
    return ranks


def anywhere(found: bool, device: torch.device) -> bool:
    """Return whether any rank found something. All ranks must call it; it is far cheaper than :func:`united`."""
    if not several_ranks():
        return found
    flag = torch.tensor(int(found), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def _average(scalar: Tensor) -> None:
    # right under accumulation too: the mean over ranks of (mean so far + own) is mean so far + mean of own
    gradient = scalar.grad
    assert gradient is not None
    dist.all_reduce(gradient, dist.ReduceOp.SUM)
    gradient /= dist.get_world_size()


@torch.no_grad()
def broadcast(tensors: Sequence[Tensor]) -> None:
    """Give all ranks the values of the first, in place."""
    for tensor in tensors:
        dist.broadcast(tensor, 0)
