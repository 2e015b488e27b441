"""Compute when frames are shown from the ticks of a stream. Pure arithmetic."""

import numpy as np
from jaxtyping import Float64, Int64

from data_modules.video.plan import UNKNOWN, continued

LONGEST_STEP = 10  # seconds between frames of one stream, as in the ffmpeg program


def growing_seconds(
    ticks: Int64[np.ndarray, " t"], tick: float, *, may_be_joined: bool
) -> Float64[np.ndarray, " t"] | None:
    """Return the time of each frame from that of the first, seconds; None where times are unknown or do not grow.

    Args:
        ticks: of frames in the order in which they are shown; ``UNKNOWN`` where there is none.
        tick: seconds.
        may_be_joined: whether the stream may consist of several, each with a clock of its own.

    Example: 900, 4500, 8100 with a tick of 1 / 90,000 s are 0, 0.04, 0.08 s.
    """
    if UNKNOWN in ticks:
        return None
    if may_be_joined:
        ticks = continued(ticks, round(LONGEST_STEP / tick))
    if (np.diff(ticks) <= 0).any():
        return None
    return (ticks - ticks[:1]) * tick


def mean_rate(
    stated: float, count: int, seconds: Float64[np.ndarray, " t"] | None
) -> float:
    """Return frames a second: by the header, unless times put it more than two frames wrong.

    Args:
        stated: by the header; 0 where it states none.
        count: frames.
        seconds: of each frame, where times grow.
    """
    if seconds is None or count < 2:
        return stated
    last = float(seconds[-1])
    if abs(last * stated - count + 1) > 2:
        return (count - 1) / last
    return stated


def last_end(
    stamps: Int64[np.ndarray, " p"], durations: list[int | None], tick: float
) -> float:
    """Return when the last picture ends, seconds; infinite where no packet tells.

    Args:
        stamps: presentation times of packets, ticks.
        durations: of the first of these packets, ticks; those of a long video are not kept.
        tick: seconds.
    """
    ends: list[int] = []
    # The rest of the stamps has no duration, so it is left out.
    for stamp, duration in zip(stamps.tolist(), durations, strict=False):
        if stamp != UNKNOWN:
            ends.append(stamp + (duration or 0))
    return max(ends) * tick if ends else float("inf")
