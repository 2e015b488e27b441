"""Read what a run has logged from its TensorBoard events, under the names of any release."""

from pathlib import Path
from typing import cast

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import (
    SCALARS,
    EventAccumulator,
)

from lightning_petl.runs.logger import shown_as


def logged(folder: Path, tag: str) -> list[float]:
    """Return the values of a tag in the order of their steps; none where it was not logged.

    Args:
        folder: of the run.
        tag: as callbacks know it, such as ``cost/clips_per_s``.
    """
    if not any(folder.glob("events.out.tfevents.*")):
        return []
    # 0: every value
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
    events.Reload()
    known = cast(list[str], events.Tags()[SCALARS])
    # early releases logged the name itself
    for name in (shown_as(tag), tag):
        if name in known:
            return [event.value for event in events.Scalars(name)]
    return []


def median(values: list[float]) -> float | None:
    """Return the median; None of nothing."""
    return float(np.median(values)) if values else None
