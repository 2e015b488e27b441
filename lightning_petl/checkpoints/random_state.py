"""Take and restore the state of the random generators of one process."""

import random
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class RandomState(NamedTuple):
    """Hold the states of the global generators of Python, NumPy and torch.

    All fields are of types that ``torch.load(weights_only=True)`` reads.

    Attributes:
        python: version, 625 integers of the Mersenne Twister, and the pending half of a normal pair.
        numpy: keys, position, and the pending half of a normal pair, as a flag and a value.
        torch: of the CPU generator.
        cuda: of the current device, None where CUDA has not been used.
    """

    python: list[Any]
    numpy: list[Any]
    torch: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls) -> "RandomState":
        """Return the present state of the global generators."""
        version, internal, gauss = random.getstate()
        state = np.random.get_state(legacy=False)
        twister = state["state"]
        return cls(
            python=[version, list(internal), gauss],
            numpy=[
                twister["key"].tolist(),
                twister["pos"],
                state["has_gauss"],
                state["gauss"],
            ],
            torch=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state()
            if torch.cuda.is_initialized()
            else None,
        )

    def restore(self) -> None:
        """Set the global generators to this state."""
        version, internal, gauss = self.python
        random.setstate((version, tuple(internal), gauss))
        keys, position, has_gauss, next_gauss = self.numpy
        twister = np.array(keys, dtype=np.uint32)
        np.random.set_state(("MT19937", twister, position, has_gauss, next_gauss))
        # a checkpoint may have been loaded onto a GPU, but torch takes states from the CPU alone
        torch.set_rng_state(self.torch.cpu())
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda.cpu())
