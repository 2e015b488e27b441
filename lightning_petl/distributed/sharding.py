"""Shard a model over ranks, block by block (FSDP2; Zhao et al., 2023, as torch's ``fully_shard``)."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.encoder import Encoder
from lightning_petl.backbones.readers import Reader
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.distributed.collectives import broadcast_object, is_first_rank


def shard(model: nn.Module, mesh: DeviceMesh, entries: Sequence[str] = ()) -> None:
    """Leave each rank its shard of every parameter, in place.

    The rows (dimension 0) of a parameter are split evenly. Of 5 rows on 2 ranks::

        rank 0: rows 0 1 2        rank 1: rows 3 4 (and one row of padding)

    A block with its adapters is one unit, so is each tap of a reader, and the rest of the model is the
    last unit. A unit is gathered while it computes, and at no other time. Parameters keep their dtype: a
    unit may hold frozen bfloat16 beside trainable float32, because only trainable parameters are reduced,
    and those are all float32. Gradients are the mean over ranks. Frozen parameters get none, and none is
    sent for them. Blocks in front of everything that trains are not gathered for the backward pass, which
    does not reach them.

    A scalar has no rows to split: it stays whole on all ranks, and so does its gradient.

    Args:
        model: nothing happens where it is sharded already.
        mesh: the ranks, in one dimension.
        entries: methods of ``model`` beside ``forward`` that use its parameters.
    """
    if isinstance(model, FSDPModule):
        return
    scalars = {p for p in model.parameters() if p.ndim == 0}
    for unit in [*units(model), model]:
        fully_shard(unit, mesh=mesh, ignored_params=scalars)
    for unit in units_without_backward(model):
        # FSDP2 (torch 2.13) would prefetch these units in the backward pass of the next one
        cast(FSDPModule, unit).set_unshard_in_backward(False)
    for entry in entries:
        # a hook gathers the parameters of the root before ``forward`` only
        register_fsdp_forward_method(model, entry)
    for scalar in scalars:
        scalar.data = scalar.data.to(mesh.device_type)
        if scalar.requires_grad:
            scalar.register_post_accumulate_grad_hook(_average)


def units(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that are sharded as a whole, before the rest: blocks, and taps of readers.

    Taps are units of their own because the trunk calls them one by one, between its blocks.
    """
    for module in model.modules():
        if isinstance(module, AdaptedBlock):
            yield module
        elif isinstance(module, Reader) and isinstance(module.taps, nn.ModuleDict):
            yield from module.taps.children()


def units_without_backward(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks that run under ``no_grad``, in front of everything that trains."""
    for encoder in model.modules():
        if isinstance(encoder, Encoder):
            yield from encoder.blocks[: max(0, encoder.frozen_stages - 1)]


@torch.no_grad()
def materialize(vit: VideoViT, device: torch.device) -> None:
    """Allocate and load the blocks of a deferred trunk, one after the other.

    Where the trunk is sharded, each rank loads its shards alone, so that no rank ever holds all weights.
    All ranks must call it: rank 0 computes the hash of the weights for all.

    Raises:
        ValueError: a method computed one of its parameters from weights that were not loaded yet.
    """
    if vit.source is None:
        return
    state = vit.source.open()
    for index, block in enumerate(vit.blocks):
        names = {name for name, p in block.named_parameters() if p.is_meta}
        keys = {name: f"blocks.{index}.{name}" for name in names}
        _require_in_file(vit, set(keys.values()) - state.keys())
        _allocate(block, device)
        parameters = dict(block.named_parameters())
        for name, key in keys.items():
            parameters[name].copy_(local_shard(state[key], parameters[name]))
    hashed = vit.source.weights_hash() if is_first_rank() else ""
    vit.weights_hash = broadcast_object(hashed)
    vit.source = None


def _allocate(block: nn.Module, device: torch.device) -> None:
    def allocated(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device=device) if tensor.is_meta else tensor

    # nn.Module.to_empty (torch 2.13) would replace tensors that have values, such as those of adapters
    block._apply(allocated)  # pyright: ignore[reportPrivateUsage]


def _require_in_file(vit: VideoViT, lacking: set[str]) -> None:
    if lacking:
        name = min(lacking)
        raise ValueError(
            f"backbone.deferred: {vit.owners.get(name, 'a method')} computes {name} from weights that no rank has yet: "
            "choose another initialization (LoRA's, not PiSSA's or DoRA's), or deferred: false"
        )


def gather_tensor(tensor: Tensor) -> Tensor:
    """Return a sharded tensor whole on the CPU of rank 0, and unchanged on other ranks.

    All ranks must call it. A tensor that is not sharded is returned as it is.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    full = cast(DTensor, tensor.detach()).full_tensor()
    return full.cpu() if is_first_rank() else tensor


def local_shard(full: Tensor, like: Tensor) -> Tensor:
    """Return this rank's shard of a tensor that every rank has whole, laid out as ``like``.

    Nothing is sent. Where ``like`` is not sharded, ``full`` is returned as it is.
    """
    if not isinstance(like, DTensor) or isinstance(full, DTensor):
        return full
    # src_data_rank=None: each rank cuts its own rows, and does not wait for rank 0 to send them
    return distribute_tensor(
        full.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


def local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor, as a plain tensor that shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _average(scalar: Tensor) -> None:
    # right under accumulation too: the mean over ranks of (mean so far + own) is mean so far + mean of own
    gradient = scalar.grad
    assert gradient is not None
    dist.all_reduce(gradient, dist.ReduceOp.SUM)
    gradient /= dist.get_world_size()
