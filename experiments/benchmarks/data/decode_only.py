"""The floor: the same packets through the same decoder, chosen beforehand, the pictures thrown away."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.stream import Discard
from jaxtyping import Int64

from data_modules.video.demux import opened
from data_modules.video.source import Source
from experiments.benchmarks.data.measure import Item


class DecodeOnly:
    """A reader that opens, demuxes and decodes what the frames of ``items`` need, and does nothing else.

    For files whose groups of pictures are closed, as x264 and VP9 write them: a frame needs what lies between the last
    key frame and itself, pictures that nothing refers to left out.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._plans = {
            (path, indices.tobytes()): _plan(path, indices)
            for path, indices in items
        }

    def __call__(self, path: Path, indices: Int64[np.ndarray, " t"]) -> None:
        """Decode."""
        groups, wanted = self._plans[path, indices.tobytes()]
        with opened(Source(path)) as container:
            stream = container.streams.video[0]
            for other in container.streams:
                other.discard = Discard.default if other is stream else Discard.all
            context = stream.codec_context
            context.thread_count = 1
            packets = [packet for packet in container.demux(stream) if packet.size]
            for group in groups:
                for number in group:
                    context.skip_frame = "DEFAULT" if number in wanted else "NONREF"
                    context.decode(packets[number])
                context.decode(None)
                context.flush_buffers()


def _plan(
    path: Path, indices: Int64[np.ndarray, " t"]
) -> tuple[list[range], frozenset[int]]:
    """Packets to feed, with an emptied decoder before each range, and those that hold the wanted frames."""
    with av.open(str(path), metadata_errors="ignore") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = np.flatnonzero([packet.is_keyframe for packet in packets])
    wanted = np.argsort([packet.pts for packet in packets])[np.unique(indices)]
    groups: list[range] = []
    for target in sorted(wanted.tolist()):
        start = int(keys[np.searchsorted(keys, target, side="right") - 1])
        if groups and start <= groups[-1].stop:
            start = groups.pop().start
        groups.append(range(start, target + 1))
    return groups, frozenset(wanted.tolist())
