"""Read training checkpoints, which may come from anybody: what a file asks for is checked before it is read.

``torch.load(weights_only=True)`` runs no code of a file. It still makes a ``bytearray`` of any length that a file asks
for, and unpacks compressed records of any size. ``torch.save`` writes neither.
"""

import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from torch import Tensor

# bytes of the structure of a checkpoint, without its tensors
_MOST_PICKLE = 1 << 26

# dictionaries and lists in each other
_MOST_DEPTH = 100

_DAMAGED = "cut short, damaged, or no checkpoint"
_KNOWN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v[23]|parameter)|torch(\.storage)? \w+Storage"
    r"|torch (Size|device|float\w*|bfloat16|u?int\w+|bool)|builtins set"
)
_TYPES: dict[str, type] = {
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "run": str,
}
_LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
_NAMES = {
    "GLOBAL",
    "INST",
    "STACK_GLOBAL",
    "EXT1",
    "EXT2",
    "EXT4",
}  # operations by which a pickle names a function
_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    UnpicklingError,
    zipfile.BadZipFile,
)


def read(path: Path, *, mapped: bool) -> dict[str, Any]:
    """Return the training state in a file.

    Args:
        path: what ``torch.save`` wrote.
        mapped: leave the tensors on the disk until they are used, and do not compare them with their checksums.

    Raises:
        ValueError: the file is damaged, asks for what no checkpoint holds, or is no training state; its name is not in
            the message.
        OSError: it cannot be read.
    """
    check_archive(path)
    if not mapped:
        _check_sums(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except _UNREADABLE as error:
        raise ValueError(_DAMAGED) from error
    _check_state(state, path.stat().st_size)
    return state


def check_archive(path: Path) -> None:
    """Check the parts of a checkpoint without reading its tensors.

    Raises:
        ValueError: as :func:`read`.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            _check_parts(parts, size)
            structure = archive.read(
                next(part for part in parts if part.filename.endswith("/data.pkl"))
            )
    except (
        zipfile.BadZipFile,
        StopIteration,
        LookupError,
        EOFError,
        NotImplementedError,
    ) as error:
        raise ValueError(_DAMAGED) from error
    for name in _asked_for(structure):
        if not _KNOWN.fullmatch(name):
            raise ValueError(
                f"it asks for {name.replace(' ', '.')[:200]}, which no checkpoint of this program holds"
            )


def _check_sums(path: Path) -> None:
    """Compare all bytes with the checksums of the archive, which torch itself does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (
        zipfile.BadZipFile,
        LookupError,
        EOFError,
        NotImplementedError,
    ) as error:
        raise ValueError(_DAMAGED) from error
    if damaged is not None:
        raise ValueError(
            f"{damaged} in it is damaged; without the file, a run goes on from an earlier checkpoint"
        )


def _check_parts(parts: list[zipfile.ZipInfo], size: int) -> None:
    """Compare the sizes that an archive states with that of its file."""
    packed = [
        part
        for part in parts
        if part.compress_type != zipfile.ZIP_STORED
        or part.file_size != part.compress_size
    ]
    if packed or sum(part.file_size for part in parts) > size:
        raise ValueError(
            "its parts are compressed, or larger than the file, which torch.save does not write"
        )
    if any(
        part.filename.endswith("/data.pkl") and part.file_size > _MOST_PICKLE
        for part in parts
    ):
        raise ValueError(f"its structure is larger than {_MOST_PICKLE} bytes")


def _asked_for(structure: bytes) -> Iterator[str]:
    """Yield the functions and classes that a pickle names, as ``"module name"``."""
    try:
        for operation, argument, _ in pickletools.genops(structure):
            if operation.name in _NAMES:
                yield (
                    str(argument) if operation.name == "GLOBAL" else operation.name
                )
    except (ValueError, LookupError) as error:
        raise ValueError(_DAMAGED) from error


def _check_state(state: Any, size: int) -> None:
    if (
        not isinstance(state, dict)
        or type(cast(dict[str, Any], state).get("global_step")) is not int
    ):
        raise ValueError("not a training state")
    found = cast(dict[str, Any], state)
    tensors = list(_tensors(found))
    if sum(tensor.nbytes for tensor in tensors) > 4 * size:
        raise ValueError("its tensors are larger than the file")
    weights = found.get("state_dict", {})
    trunk = found.get("trunk", ["", ""])
    labels = found.get("labels", [])
    right = isinstance(weights, dict) and all(
        isinstance(v, Tensor) for v in cast(dict[str, Any], weights).values()
    )
    if not (right and _is_texts(trunk) and len(trunk) == 2 and _is_texts(labels)):
        raise ValueError(
            "its state_dict, trunk or labels are not of the types of a training state"
        )
    _check_progress(found)


def _check_progress(state: Mapping[str, Any]) -> None:
    """Compare the types of what a resume and a search for the best checkpoint ask for, where it is there."""
    wrong = [
        key
        for key, kind in _TYPES.items()
        if key in state and not isinstance(state[key], kind)
    ]
    loops = state.get("loops")
    if isinstance(loops, dict) and not all(
        isinstance(loops.get(name), dict) for name in _LOOPS
    ):
        wrong.append("loops")
    row = state.get("row")
    if row is not None and not (
        isinstance(row, list | tuple) and len(cast(list[Any], row)) == 2
    ):
        wrong.append("row")
    if not wrong and not all(map(_is_best, state.get("callbacks", {}).values())):
        wrong.append("callbacks")
    if wrong:
        raise ValueError(
            f"its {' and '.join(wrong)} are not of the types of a training state"
        )


def _is_best(state: Any) -> bool:
    """Return whether what a callback keeps of the best checkpoint, if it does, is a path with a score."""
    if not isinstance(state, dict) or "best_model_path" not in state:
        return True
    kept = cast(dict[str, Any], state)
    path = kept["best_model_path"]
    monitor = kept.get("monitor")
    score = kept.get("best_model_score")
    scored = isinstance(score, int | float) or (
        isinstance(score, Tensor) and score.numel() == 1
    )
    return isinstance(path, str) and (
        monitor is None or (isinstance(monitor, str) and (scored or not path))
    )


def _tensors(state: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield all tensors in dictionaries and lists in each other."""
    left: list[tuple[Any, int]] = [(state, 0)]
    while left:
        value, depth = left.pop()
        if depth > _MOST_DEPTH:
            raise ValueError("it is nested too deeply")
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            left += [
                (item, depth + 1) for item in cast(dict[Any, Any], value).values()
            ]
        elif isinstance(value, list | tuple):
            left += [(item, depth + 1) for item in cast(list[Any], value)]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(text, str) for text in cast(list[Any], value)
    )
