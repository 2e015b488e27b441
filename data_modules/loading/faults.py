"""What one rank cannot read, told to all of them."""

from collections.abc import Sequence
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer


def refuse_together(faults: Sequence[str], trainer: Trainer) -> None:
    """Refuse, on all ranks, a video that any of them cannot read. All must call it, with what they could not read.

    An error of one rank alone would leave the others in the next collective.

    Raises:
        ValueError: on all ranks, with the reason of the first rank that has one.
    """
    if trainer.strategy.reduce_boolean_decision(any(faults), all=False):
        ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(ranks, [fault for fault in faults if fault])
        raise ValueError(next(fault for rank in ranks for fault in rank))
