"""What a checkpoint holds: the trainable state, whole files only, and the random state of every rank."""

import io
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import numpy as np
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.checkpoints.files import read
from lightning_petl.distributed.sharding import gather_tensor, local_shard

State = dict[str, Tensor]


def trainable_keys(module: nn.Module) -> set[str]:
    """Names in ``module.state_dict()`` of what training changes.

    These are the parameters that train, the buffers beside them (BatchNorm's statistics), and all buffers inside a
    module in which every parameter trains.
    """
    return set(_keys(module, "", inside=False)) & module.state_dict().keys()


def trainable_state(module: nn.Module) -> State:
    """The trainable part of ``module.state_dict()``; of a sharded module, the shares of this rank."""
    keys = trainable_keys(module)
    return {key: value for key, value in module.state_dict().items() if key in keys}


def trainable_buffers(module: nn.Module) -> list[Tensor]:
    """What changes in training without a gradient: the statistics of BatchNorms that train."""
    keys = trainable_keys(module)
    return [buffer for name, buffer in module.named_buffers() if name in keys]


def gathered(collection: Any) -> Any:
    """A copy of dictionaries and lists in which each share of a sharded tensor has become the whole, on the first rank.

    All ranks must call it. On the others shares stay shares.
    """
    return apply_to_collection(collection, DTensor, gather_tensor)


def check_trainable(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and types of a trainable state with those of ``module``.

    Raises:
        ValueError: a key is missing, unexpected, of another shape, or of another type.
    """
    own = trainable_state(module)
    _refuse_other_stack("missing", own.keys() - state.keys())
    _refuse_other_stack("unexpected", state.keys() - own.keys())
    shapes = {
        k: f"{k} {tuple(state[k].shape)}, here {tuple(v.shape)}" for k, v in own.items()
    }
    _refuse_other_stack(
        "of another shape",
        {text for k, text in shapes.items() if own[k].shape != state[k].shape},
    )
    types = {k: f"{k} {state[k].dtype}, here {v.dtype}" for k, v in own.items()}
    _refuse_other_stack(
        "of another type",
        {text for k, text in types.items() if own[k].dtype != state[k].dtype},
    )


def load_trainable(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a trainable state, strict about its keys, silent about the frozen rest.

    Where the module is sharded, each rank takes its share of the whole tensors.

    Raises:
        ValueError: as :func:`check_trainable`.
    """
    check_trainable(module, state)
    own = trainable_state(module)
    module.load_state_dict(
        {key: local_shard(value, own[key]) for key, value in state.items()},
        strict=False,
    )


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load the state of an optimiser over the same parameters; where they are sharded, this rank's share of it."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    parameters = [
        parameter for group in optimizer.param_groups for parameter in group["params"]
    ]
    owner = dict(zip(numbers, parameters, strict=True))
    moments = {
        number: {
            name: local_shard(value, owner[number])
            if getattr(value, "shape", None) == owner[number].shape
            else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


class Trunk(NamedTuple):
    """The frozen weights that a trainable state was trained on."""

    name: str
    weights_hash: str

    def require(self, here: "Trunk") -> None:
        """Raise ``ValueError`` where ``here`` holds other weights."""
        if self.weights_hash != here.weights_hash:
            raise ValueError(
                f"trained on the trunk {self.name!r} with weights {self.weights_hash[:12]}, but this trunk is "
                f"{here.name!r} with weights {here.weights_hash[:12]}: use the trunk it was trained on"
            )


class RandomState(NamedTuple):
    """The generators of one process, in types that ``torch.load(weights_only=True)`` reads."""

    python: list[Any]
    numpy: list[Any]
    torch: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls) -> "RandomState":
        """The state of the global generators."""
        version, internal, gauss = random.getstate()
        state = np.random.get_state(legacy=False)
        legacy = [
            state["state"]["key"].tolist(),
            state["state"]["pos"],
            state["has_gauss"],
            state["gauss"],
        ]
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        return cls(
            [version, list(internal), gauss], legacy, torch.get_rng_state(), cuda
        )

    def restore(self) -> None:
        """Set the global generators."""
        version, internal, gauss = self.python
        random.setstate((version, tuple(internal), gauss))
        keys, position, has_gauss, next_gauss = self.numpy
        np.random.set_state(
            (
                "MT19937",
                np.array(keys, dtype=np.uint32),
                position,
                has_gauss,
                next_gauss,
            )
        )
        torch.set_rng_state(self.torch.cpu())
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda.cpu())


class AtomicCheckpointIO(TorchCheckpointIO):
    """A checkpoint file is whole or not there: temporary name in the same folder, fsync, rename."""

    @override
    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write ``checkpoint``; where that fails, a previous file of that name is untouched.

        Raises:
            OSError: the file could not be written.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getbuffer())

    @override
    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, loc: storage,  # as Lightning has it
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; nothing in it is run, whatever is asked for.

        Raises:
            ValueError: it is damaged, or asks for what no checkpoint holds.
        """
        if "://" in str(path):
            return super().load_checkpoint(path, map_location, weights_only=True)
        try:
            return read(Path(path), mapped=False)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        OSError: it could not be written; nothing is left behind and a previous file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_through(temporary, content)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        kept = (
            "the previous file is untouched" if path.exists() else "nothing was written"
        )
        reason = error.strerror or str(error)
        raise OSError(
            error.errno, f"could not write {path}: {reason}; {kept}"
        ) from error


def _write_through(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # without this a power cut can undo the rename
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keys(module: nn.Module, prefix: str, *, inside: bool) -> Iterator[str]:
    inside = inside or _all_train(module)
    own = {
        prefix + name: p.requires_grad
        for name, p in module.named_parameters(recurse=False)
    }
    yield from (name for name, trains in own.items() if trains)
    if inside or any(own.values()):
        yield from (prefix + name for name, _ in module.named_buffers(recurse=False))
    for name, child in module.named_children():
        yield from _keys(child, f"{prefix}{name}.", inside=inside)


def _all_train(module: nn.Module) -> bool:
    trains = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trains) and all(trains)


def _refuse_other_stack(problem: str, names: Any) -> None:
    if names:
        shown = sorted(names)
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        raise ValueError(
            f"the checkpoint belongs to another stack of adapters or another head: {len(shown)} trainable tensor(s) "
            f"{problem}: {', '.join(shown[:5])}{more}"
        )
