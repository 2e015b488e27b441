"""Read what both strategies need of a module or a value before they reduce over ranks."""

from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch import LightningModule
from torch import Tensor


def as_float(value: Any) -> Any:
    """Return a tensor of integers as float32, and anything else as it is.

    Lightning 2.6 takes the mean over ranks in the dtype of the value: the mean of 2 and 3 clips would be 2.
    """
    if isinstance(value, Tensor) and not value.is_floating_point():
        return value.float()
    return value


def unreachable_of(module: LightningModule) -> set[str]:
    """Return a copy of the names of parameters that train but have no path to the loss."""
    return set(cast(set[str], getattr(module, "unreachable", set[str]())))
