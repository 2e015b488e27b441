"""Process CPU time of readers, taken side by side: for every clip each reader once, in an order that rotates."""

import gc
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

Item = tuple[Path, Int64[np.ndarray, "..."]]
Times = dict[str, list[float]]
"""CPU milliseconds a clip, one number a repeat, by reader."""


def interleaved(
    readers: Mapping[str, Callable[[Path, Any], Any]],
    repeats: Sequence[Sequence[Item]],
    tick: Callable[[], None],
) -> Times:
    """Every reader on every clip of every repeat. Threads of a reader count; whoever decodes behind our back pays."""
    names, times = list(readers), {name: [] for name in readers}
    for items in repeats:
        spent = dict.fromkeys(names, 0.0)
        for index, item in enumerate(items):
            for name in names[index % len(names) :] + names[: index % len(names)]:
                start = time.process_time()
                readers[name](*item)
                spent[name] += time.process_time() - start
            tick()
        for name in names:
            times[name].append(1000 * spent[name] / len(items))
    return times


def ratio(times: Times, slower: str, faster: str) -> float | None:
    """The median over repeats of how many times as long ``slower`` takes; None where one was not measured."""
    if not times.get(slower) or not times.get(faster):
        return None
    return median(a / b for a, b in zip(times[slower], times[faster], strict=True))


def sequential(path: Path) -> UInt8[Tensor, "n c h w"]:
    """Every frame by the simplest code there is: what the others are checked against."""
    with av.open(str(path)) as container:
        frames = np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        )
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def disagreement(
    video: UInt8[Tensor, "t c h w"],
    expected: Mapping[int, UInt8[Tensor, "c h w"]],
    indices: Int64[np.ndarray, " t"],
) -> str | None:
    """Why ``video`` is not the frames of ``expected`` at ``indices``; None where it is.

    Each frame has a PSNR of 30 dB or more against its own, and a lower one against both neighbors. Each 2 x 2 pixels
    are averaged first: readers resize with filters of their own.
    """
    video, expected = (
        _halved(video),
        {index: _halved(frame) for index, frame in expected.items()},
    )
    for frame, index in zip(video, indices.tolist(), strict=True):
        quality = {
            near: psnr(frame, expected[near])
            for near in (index - 1, index, index + 1)
            if near in expected
        }
        if quality[index] < 30 or max(quality, key=quality.__getitem__) != index:
            return f"frame {index}: PSNR by frame {', '.join(f'{k}: {v:.1f} dB' for k, v in quality.items())}"
    return None


def psnr(a: Float[Tensor, "c h w"], b: Float[Tensor, "c h w"]) -> float:
    """10 log10(255^2 / mean squared error), dB."""
    return float(10 * torch.log10(255**2 / (a - b).square().mean().clamp(min=1e-9)))


def _halved(video: UInt8[Tensor, "*t c h w"]) -> Float[Tensor, "*t c h2 w2"]:
    return avg_pool2d(video.float(), 2)


def resident_mib() -> float:
    """Memory of this process now, MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def growth(calls: Iterable[Callable[[], Any]], warm: int) -> tuple[float, int]:
    """MiB and threads that the calls after the first ``warm`` add."""
    before, threads = resident_mib(), num_threads()
    for index, call in enumerate(calls):
        if index == warm:
            before, threads = resident_mib(), num_threads()
        call()
    return resident_mib() - before, num_threads() - threads


def num_threads() -> int:
    """Of this process, those of libraries included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())
