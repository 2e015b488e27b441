"""Count the bytes that an update sends between ranks, from the shapes of the parameters alone."""

from collections.abc import Container, Iterable

from torch import Tensor, nn

from lightning_petl.distributed.sharding import units, units_without_backward


def gathered_bytes(model: nn.Module, ranks: int) -> int:
    """Return the bytes of weights that one training pass of a sharded model gathers on each rank.

    The forward pass gathers all of them. The backward pass gathers those units again that it reaches;
    the root unit stays gathered in between.
    """
    reached = {id(p) for unit in units(model) for p in unit.parameters()}
    for unit in units_without_backward(model):
        reached -= set(map(id, unit.parameters()))
    total = 0
    for parameter in model.parameters():
        if parameter.ndim > 0:  # scalars are not sharded
            times = 2 if id(parameter) in reached else 1
            total += times * _padded_bytes(parameter, ranks)
    return total


def gradient_bytes(
    model: nn.Module, ranks: int = 1, unreachable: Container[str] = ()
) -> int:
    """Return the bytes of gradients that an update reduces over ranks.

    Args:
        model: sharded or not.
        ranks: among which FSDP2 splits the rows; 1 for DDP, which sends whole gradients.
        unreachable: names of parameters that train but get no gradient.
    """
    total = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in unreachable:
            total += _padded_bytes(parameter, ranks)
    return total


def bytes_per_rank(parameters: Iterable[Tensor], ranks: int) -> int:
    """Return the bytes that each of ``ranks`` holds of sharded parameters; scalars are held whole."""
    total = 0
    for parameter in parameters:
        shards = ranks if parameter.ndim > 0 else 1
        total += _padded_bytes(parameter, ranks) // shards
    return total


def _padded_bytes(parameter: Tensor, ranks: int) -> int:
    """Return the bytes of a parameter whose rows FSDP2 has padded to a multiple of ``ranks``.

    5 rows on 2 ranks are sent as 6: ``[0 1 2 | 3 4 pad]``.
    """
    rows = 1
    if parameter.ndim > 0:
        rows = -(-len(parameter) // ranks) * ranks
    return rows * parameter.shape[1:].numel() * parameter.element_size()
