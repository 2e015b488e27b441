"""Sum the bits of frozen tensors, to notice when one changes or differs from rank to rank."""

import torch
from torch import Tensor, nn

from lightning_petl.checkpoints.trainable_state import trainable_keys
from lightning_petl.distributed.sharding import local

# bytes of an element -> the integer type in which its bits are summed
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def checksums(module: nn.Module) -> dict[str, int]:
    """Return the checksum of each tensor in the state dict that training must not change, by name.

    A checksum is the sum of the bits, read as integers, modulo 2**64. Of a sharded module each rank sums
    its own shards.
    """
    trains = trainable_keys(module)
    return {
        name: _checksum(local(value))
        for name, value in module.state_dict().items()
        if name not in trains
    }


def _checksum(tensor: Tensor) -> int:
    bits = tensor.detach().contiguous().view(-1)
    integers = bits.view(_INTEGERS[tensor.element_size()])
    return int(integers.sum(dtype=torch.int64))
