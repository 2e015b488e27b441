"""Choose the packets of a compressed video that must be decoded for the frames that are wanted. Pure arithmetic.

A packet holds one picture and stands in decoding order; a frame is named by its rank in presentation order. A
picture refers only to pictures that are decoded before it. It can be decoded from every key frame that is not after
it in either order; pictures between the two in decoding order that nothing refers to need not be.

    packet        0   1   2   3   4   5   6   7   8        in decoding order
    picture       I   P   b   b   I   b   b   P   b        b refers to both neighbors in time
    time, rank    0   3   1   2   6   4   5   8   7

    wanted: rank 7, which is packet 8
    key frames not after it in either order: packets 0 and 4; the last one is taken
    fed: packets 4, 7, 8. Packets 5 and 6 are shown before packet 4, so nothing behind it refers to them.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

UNKNOWN = np.iinfo(np.int64).min
_MANY = 8  # usual steps, which one stream seldom leaves out


class PacketTable(NamedTuple):
    """Hold what a container says of its packets, in decoding order.

    Attributes:
        time: presentation time, in any unit; ``UNKNOWN`` where there is none.
        keyframe: decoding can start here.
        shown: the packet becomes a frame; edit lists and hidden pictures leave some out.
    """

    time: Int64[np.ndarray, " p"]
    keyframe: Bool[np.ndarray, " p"]
    shown: Bool[np.ndarray, " p"]


def presentation(table: PacketTable) -> Int64[np.ndarray, " t"] | None:
    """Return the packet of each frame, by rank; None where only decoding can tell.

    That is where times are missing or double, or where pictures come before the first key frame in either order:
    whether such a picture can be decoded, the container does not say.

    Example: times 0, 3, 1, 2 of packets that are all shown give packets 0, 2, 3, 1.
    """
    packets = table.shown.nonzero()[0]
    if not len(packets) or not table.keyframe[0] or table.time[0] == UNKNOWN:
        return None
    packets = packets[table.time[packets].argsort()]
    time = table.time[packets]
    if time[0] < table.time[0] or (time[1:] == time[:-1]).any():
        return None
    return packets


def continued(
    times: Int64[np.ndarray, " t"], longest: int
) -> Int64[np.ndarray, " t"]:
    """Return the times as one clock goes on over places where streams were joined.

    At such a place times go back or leave out much; that step becomes the usual one. Where times go back, pictures of
    both streams may be mixed: then a step of many usual ones is of that kind too. Where more than a tenth of the steps
    are such, nothing was joined.

    Args:
        times: of frames in the order in which they are shown.
        longest: step that may stand between two frames of one stream.

    Example: 100, 140, 180, 20, 60 become 100, 140, 180, 220, 260.
    """
    steps = np.diff(times)
    forward = steps[steps > 0]
    if not len(forward):
        return times
    usual = int(np.median(forward))
    goes_back = len(forward) < len(steps)
    if goes_back:
        longest = min(longest, _MANY * usual)
    joined = (steps <= 0) | (steps > longest)
    if 10 * joined.sum() > len(steps):
        return times
    passed = np.cumsum(np.where(joined, usual, steps))
    return times[0] + np.concatenate([[0], passed])


def segments(
    table: PacketTable, targets: Iterable[int]
) -> list[Int64[np.ndarray, " n"]]:
    """Return what to feed so that the packets ``targets`` give their frames, as little as key frames allow.

    Each segment begins with a key frame, before which the decoder is emptied. Pictures of the segment that are shown
    before that key frame are left out: they may refer to what lies before it, and nothing after it refers to them
    (ISO 14496-10, sec. D.2.8; ISO 23008-2, sec. 7.4.2.2).

    Args:
        table: of a stream whose :func:`presentation` is known.
        targets: one or more packets, each with a frame.

    Returns:
        The packets of each segment, rising.

    Example: in the stream at the head of this file, targets 2 and 8 give [0, 1, 2] and [4, 7, 8].
    """
    spans: list[tuple[int, int]] = []
    packets = np.array(sorted(targets))
    starts = _entries(table, packets).tolist()
    for start, target in zip(starts, packets.tolist(), strict=True):
        # Spans that overlap become one, so that no packet is fed twice. An open group of pictures may reach back
        # over several.
        while spans and start <= spans[-1][1]:
            start = min(start, spans.pop()[0])
        spans.append((start, target + 1))
    found: list[Int64[np.ndarray, " n"]] = []
    for start, stop in spans:
        later = table.time[start:stop] >= table.time[start]
        found.append(start + np.flatnonzero(later))
    return found


def _entries(
    table: PacketTable, targets: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """Return the last key frame at or before each target in both orders."""
    keyframes = np.flatnonzero(table.keyframe)
    place = np.searchsorted(keyframes, targets, side="right") - 1
    # An earlier key frame in decoding order, for targets that are shown before the one found. The first packet is a
    # key frame that is shown first, so this ends.
    while (late := table.time[keyframes[place]] > table.time[targets]).any():
        place[late] -= 1
    return keyframes[place]
