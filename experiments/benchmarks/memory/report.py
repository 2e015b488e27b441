"""What was measured, as tables for people: on the terminal and as markdown."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from rich.console import Console

from experiments.benchmarks.grid import Grid
from experiments.benchmarks.machine import cpu
from experiments.benchmarks.memory.measure import WARM_STEPS, Device
from experiments.benchmarks.memory.methods import AIM_ROW, FULL, LIGHT, PLAIN, Trunk
from lightning_petl.cost.saved_memory import Saved

MIB, GIB = 2**20, 2**30
NOT_MEASURED = "not measured"
HEADER = (
    "method",
    "trained",
    "fp32",
    "bf16",
    "recomputed",
    "of AIM's",
    "CPU s/frame",
    "GPU peak",
    "GPU clips/s",
)
DEVICE_HEADER = (
    "method",
    "clips a step",
    "weights",
    "gradients, AdamW",
    "activations",
    "peak",
    "reserved",
)
# fmt: off
MOST_MEBIBYTES = {LIGHT: 75, FULL: 220, LIGHT + PLAIN: 100, FULL + PLAIN: 320}
MOST_OF_AIM = {LIGHT: 0.08, FULL: 0.22}
# fmt: on


@dataclass
class Row:
    """One method beside one trunk; None: not measured."""

    trained: int
    single: Saved
    half: Saved
    real: Saved | None = None
    seconds: float | None = None
    device: Device | str | None = None


def bytes_grid(trunk: Trunk, rows: Mapping[str, Row]) -> Grid:
    """Saved bytes and times beside one trunk."""
    aim = rows[AIM_ROW].half.total if AIM_ROW in rows else None
    return Grid(
        f"{trunk.label}, {trunk.num_frames} frames at {trunk.image_size} px", HEADER,
        [
            (name, f"{row.trained:,}", _mebibytes(row.single), _mebibytes(row.half),
             f"{row.half.recomputed / MIB:.1f}" if row.half.recomputed else "",
             f"{row.half.total / aim:.1%}" if aim else "",
             NOT_MEASURED if row.seconds is None else f"{row.seconds:.2f}",
             _device_cell(row.device, lambda device: f"{device.peak / GIB:.2f}"),
             _device_cell(row.device, lambda device: f"{device.clips_per_second:.1f}"))
            for name, row in rows.items()
        ],
    )  # fmt: skip


def device_grid(trunk: Trunk, rows: Mapping[str, Row]) -> Grid:
    """What a GPU allocates, in GiB."""
    sizes = {
        name: row.device
        for name, row in rows.items()
        if isinstance(row.device, Device)
    }
    cells = [
        (
            name,
            str(trunk.device_batch),
            *(f"{size / GIB:.2f}" for size in device.sizes),
        )
        for name, device in sizes.items()
    ]
    return Grid(f"{trunk.label} on {gpu()}, GiB", DEVICE_HEADER, cells)


def goals_grid(rows: Mapping[str, Row]) -> Grid:
    """What was to reach beside ViT-B/16 in bfloat16 autocast."""
    aim = rows[AIM_ROW].half.total
    limits = [
        (f"{name}, MiB a clip", limit, rows[name].half.total / MIB)
        for name, limit in MOST_MEBIBYTES.items()
    ]
    shares = [
        (f"{name}, share of AIM's", limit, rows[name].half.total / aim)
        for name, limit in MOST_OF_AIM.items()
    ]
    cells = [
        (what, f"{most:g}", f"{got:.4g}", "yes" if got <= most else "NO")
        for what, most, got in limits + shares
    ]
    return Grid(
        "Goals",
        ("ViT-B/16, bf16 autocast", "at most", "measured", "reached"),
        cells,
    )


def check_grid(trunk: Trunk, rows: Mapping[str, Row]) -> Grid:
    """Counts on tensors without memory beside counts while the pass was computed."""
    cells = [
        (
            name,
            f"{row.half.total:,}",
            f"{row.real.total:,}",
            "yes" if row.half == row.real else "NO",
        )
        for name, row in rows.items()
        if row.real is not None
    ]
    return Grid(
        f"{trunk.label}, bf16, bytes a clip",
        ("method", "without memory", "computed", "equal"),
        cells,
    )


def page(grids: Sequence[Grid], settings: str) -> str:
    """The page of results."""
    head = f"# Memory benchmark, {time.strftime('%Y-%m-%d')}, {cpu()}\n\n{settings}\n\n{versions()}\n"
    return "\n".join([head, *(grid.markdown() for grid in grids)])


def show(grids: Sequence[Grid], console: Console) -> None:
    """All tables."""
    for grid in grids:
        console.print(grid.rich())


def gpu() -> str:
    """The model of the GPU."""
    return (
        torch.cuda.get_device_name() if torch.cuda.is_available() else NOT_MEASURED
    )


def versions() -> str:
    """Of what takes part."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm"))
    return f"Python {platform.python_version()}, {packages}, CUDA {torch.version.cuda or 'none'}. GPU: {gpu()}."


def _mebibytes(saved: Saved) -> str:
    return f"{saved.total / MIB:.1f}"


def _device_cell(device: Device | str | None, text: Callable[[Device], str]) -> str:
    return text(device) if isinstance(device, Device) else device or NOT_MEASURED


def settings(steps: int) -> str:
    """How it was measured."""
    return (
        "**fp32, bf16**: MiB (2^20 bytes) that one clip more in the batch keeps for the backward pass: the distinct "
        "storages that autograd saves (`torch.autograd.graph.saved_tensors_hooks`; each counts once and whole), the "
        "inputs of checkpointed modules among them, plus what the largest checkpointed module saves when it is "
        "computed again (**recomputed**, of bf16). Weights, and their copies in half precision, are in any batch and "
        "cancel out. No whole block of a trunk is checkpointed. bf16 is autocast over float32 weights. Counted on "
        "tensors without memory; the last table compares that with a computed pass.\n\n"
        "**trained**: parameters, with a head of 174 classes. **of AIM's**: bf16 bytes. **CPU s/frame**: process CPU "
        f"seconds a frame, the fastest of {steps} step(s) of forward, backward and AdamW on two clips of two frames in "
        "float32, one thread; other work on the machine makes it longer. **GPU**: autocast, frozen weights "
        f"stored in bfloat16, AdamW, after {WARM_STEPS} steps; peak is `max_memory_allocated` in GiB; batch 32 beside "
        "B/16, 16 beside L/14, 4 beside E/14; not compiled."
    )
