"""Take and load the trainable state of a model: what a checkpoint holds of its weights."""

from collections.abc import Iterator, Mapping
from typing import Any

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from lightning_petl.distributed.sharding import gather_tensor, local_shard

State = dict[str, Tensor]

_SHOWN = 5  # names in a message


def trainable_keys(module: nn.Module) -> set[str]:
    """Return the names in ``module.state_dict()`` of what training changes.

    These are the parameters that train, the buffers beside them (BatchNorm's statistics), and all buffers
    inside a module in which every parameter trains.
    """
    # a buffer may be registered as not persistent, and is then not in the state dict
    return set(_keys(module, "", inside=False)) & module.state_dict().keys()


def trainable_state(module: nn.Module) -> State:
    """Return the trainable part of ``module.state_dict()``; of a sharded module, this rank's shards."""
    keys = trainable_keys(module)
    return {key: value for key, value in module.state_dict().items() if key in keys}


def trainable_buffers(module: nn.Module) -> list[Tensor]:
    """Return what training changes without a gradient: the statistics of BatchNorms that train."""
    keys = trainable_keys(module)
    return [buffer for name, buffer in module.named_buffers() if name in keys]


def gather_shards(collection: Any) -> Any:
    """Return a copy of nested dictionaries and lists in which sharded tensors are whole, on rank 0.

    All ranks must call it. On other ranks the tensors stay sharded.
    """
    return apply_to_collection(collection, DTensor, gather_tensor)


def check_trainable(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and dtypes of a trainable state with those of ``module``.

    Raises:
        ValueError: a key is missing, unexpected, of another shape, or of another dtype.
    """
    own = trainable_state(module)
    _refuse_other_stack("missing", own.keys() - state.keys())
    _refuse_other_stack("unexpected", state.keys() - own.keys())
    shapes: set[str] = set()
    types: set[str] = set()
    for name, value in own.items():
        given = state[name]
        if given.shape != value.shape:
            shapes.add(f"{name} {tuple(given.shape)}, here {tuple(value.shape)}")
        if given.dtype != value.dtype:
            types.add(f"{name} {given.dtype}, here {value.dtype}")
    _refuse_other_stack("of another shape", shapes)
    _refuse_other_stack("of another type", types)


def load_trainable(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a trainable state; all its keys must fit, and frozen weights are not asked for.

    Where the module is sharded, each rank takes its shards of the whole tensors.

    Raises:
        ValueError: as :func:`check_trainable`.
    """
    check_trainable(module, state)
    own = trainable_state(module)
    shards = {key: local_shard(value, own[key]) for key, value in state.items()}
    # strict=False: the frozen weights are missing from the state; check_trainable was strict on the rest
    module.load_state_dict(shards, strict=False)


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load the state of an optimizer over the same parameters.

    Where these are sharded, each rank takes its shards of the moments. Saved and present parameters are
    matched by their order in the groups, as torch does.

    Raises:
        ValueError: there are moments of a parameter that no group has.
    """
    numbers = _parameters_of(state["param_groups"])
    parameters = _parameters_of(optimizer.param_groups)
    unknown = state["state"].keys() - set(numbers)
    if unknown:
        raise ValueError(
            f"the optimizer state has moments of parameter {min(unknown)}, which is in none of its groups: the "
            "checkpoint is damaged; take another one"
        )
    moments: dict[int, dict[str, Any]] = {}
    for number, parameter in zip(numbers, parameters, strict=True):
        # a parameter that never got a gradient has no moments
        if number in state["state"]:
            moments[number] = _sharded_moments(state["state"][number], parameter)
    optimizer.load_state_dict({**state, "state": moments})


def _parameters_of(groups: list[dict[str, Any]]) -> list[Any]:
    """Return the parameters of all groups; in the state dict of an optimizer these are numbers."""
    return [parameter for group in groups for parameter in group["params"]]


def _sharded_moments(
    values: Mapping[str, Any], parameter: Tensor
) -> dict[str, Any]:
    found = dict(values)
    for name, value in values.items():
        # the moments of Adam have the shape of the parameter, its count of steps has not
        if getattr(value, "shape", None) == parameter.shape:
            found[name] = local_shard(value, parameter)
    return found


def _keys(module: nn.Module, prefix: str, *, inside: bool) -> Iterator[str]:
    """Yield the names of what trains in a module; ``inside``: all parameters around it train."""
    inside = inside or _all_train(module)
    any_trains = False
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.requires_grad:
            any_trains = True
            yield prefix + name
    if inside or any_trains:
        for name, _ in module.named_buffers(recurse=False):
            yield prefix + name
    for name, child in module.named_children():
        yield from _keys(child, f"{prefix}{name}.", inside=inside)


def _all_train(module: nn.Module) -> bool:
    trains = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trains) and all(trains)


def _refuse_other_stack(problem: str, names: Any) -> None:
    if not names:
        return
    shown = ", ".join(sorted(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise ValueError(
        "the checkpoint belongs to another stack of adapters or another head: "
        f"{len(names)} trainable tensor(s) {problem}: {shown}{more}"
    )
