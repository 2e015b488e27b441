"""What one rank cannot read, told to all of them."""

from collections.abc import Sequence
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer


def refuse_together(faults: Sequence[str], trainer: Trainer) -> None:
    """Refuse, on all ranks, a video that any of them cannot read.

    All ranks must call it, with what they could not read. An error of one rank alone
    would leave the others in the next collective.

    Raises:
        ValueError: on all ranks, with the reason of the first rank that has one.
    """
    # one boolean first: gathering texts is slow, and nearly always there are none
    if trainer.strategy.reduce_boolean_decision(any(faults), all=False):
        own = [fault for fault in faults if fault]
        ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(ranks, own)
        first = next(filter(None, ranks))
        raise ValueError(first[0])
