"""What differs between a training that was disturbed and one that was not: nothing, if all is well."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import data_modules.compat  # noqa: F401  # before what imports torchvision

Lines = list[dict[str, Any]]
logging.getLogger("tensorboard").setLevel(
    logging.ERROR
)  # it warns of each purge of a resume, which is meant
_WHAT = ("update", "clips", "loss", "rates")


def starts(lines: Lines) -> list[Lines]:
    """The lines of each process, in order."""
    found: list[Lines] = []
    for line in lines:
        if not found or found[-1][-1]["process"] != line["process"]:
            found.append([])
        found[-1].append(line)
    return found


def curves(expected: Lines, actual: Lines, rank: int) -> Iterator[str]:
    """Each batch that another clip, loss, learning rate or update belongs to, and each that is missing."""
    reference = {(line["epoch"], line["batch"]): line for line in expected}
    for line in actual:
        known = reference.get((line["epoch"], line["batch"]), {})
        for key in _WHAT:
            if known.get(key) != line[key]:
                place = f"rank {rank}, epoch {line['epoch']}, batch {line['batch']}"
                yield f"{place}: {key} {line[key]} instead of {known.get(key)}"
    missing = reference.keys() - {(line["epoch"], line["batch"]) for line in actual}
    if missing:
        yield f"rank {rank}: {len(missing)} batches are missing, as {min(missing)}"
    order = list(reference)
    for begun in starts(actual):
        first = order.index((begun[0]["epoch"], begun[0]["batch"]))
        if [(line["epoch"], line["batch"]) for line in begun] != order[
            first : first + len(begun)
        ]:
            yield f"rank {rank}: the start at {order[first]} leaves the order"


def events(expected: Path, actual: Path) -> Iterator[str]:
    """Each tag of TensorBoard with other points; what is measured in seconds and bytes may differ."""
    left, right = _scalars(expected), _scalars(actual)
    for tag in sorted(left.keys() | right.keys()):
        if left.get(tag) != right.get(tag):
            yield f"TensorBoard: {tag} has {right.get(tag)} instead of {left.get(tag)}"


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    tags = [tag for tag in found.Tags()["scalars"] if not tag.startswith("z_cost/")]
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in tags
    }


def checkpoints(expected: Path, actual: Path) -> Iterator[str]:
    """Each part of each checkpoint that differs, each file too many or too few."""
    left, right = (
        {path.name: path for path in (run / "checkpoints").iterdir()}
        for run in (expected, actual)
    )
    if left.keys() != right.keys():
        yield f"checkpoints: {sorted(right)} instead of {sorted(left)}"
    yield from (
        f"temporary file: {path}"
        for path in actual.rglob("*")
        if "tmp" in path.name or "partial" in path.name
    )
    for name in sorted(left.keys() & right.keys()):
        parts = [
            torch.load(path, weights_only=True)
            for path in (left[name], right[name])
        ]
        for part in (
            "state_dict",
            "optimizer_states",
            "lr_schedulers",
            "global_step",
            "epoch",
        ):
            if not same(parts[0][part], parts[1][part]):
                yield f"{name}: {part} differs"
        if not same(parts[0]["callbacks"]["EMA"], parts[1]["callbacks"]["EMA"]):
            yield f"{name}: the averages differ"


def same(left: Any, right: Any) -> bool:
    """Whether two nests of tensors and plain values are the same bits."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            same(value, right[key]) for key, value in left.items()
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right
