"""Write and read rows of a feature cache: each tensor of a row checked by itself, each file there whole or not at all.

A shard is a safetensors file. Its tensors hold a line for each row:

    block.11             rows x views x tokens x width, in the precision that is kept
    block.11.scale       one scale for each token, int8 alone
    block.11.checksum    CRC-32 of the two, and of the row's labels, clip and fault
    labels               rows x 1, or rows x views
    clip                 rows; the index of the video that is seen
"""

import json
import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data_modules.io.atomic import atomic_write
from data_modules.io.untrusted import check_header

Kept = Literal["fp32", "bf16", "fp16", "int8"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SCALE = ".scale"
_CHECKSUM = ".checksum"
_LABELS = "labels"
_CLIP = "clip"
_LARGEST = (
    127  # of int8, without -128, so that the scale is the same on either side
)
# What a file raises that was not written by this module, wherever it is not what it should be.
_UNREADABLE = (
    SafetensorError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
)


class FeatureRow(NamedTuple):
    """Hold what is kept of one video.

    Attributes:
        parts: packed tensors by name, each with the views in front.
        labels: one for all views, or one for each.
        clip: index of the video that is seen.
        fault: why the video that should be seen could not be read; empty if it could.
    """

    parts: dict[str, Tensor]
    labels: tuple[int, ...]
    clip: int
    fault: str = ""


def pack(parts: Mapping[str, Tensor], kept: Kept) -> dict[str, Tensor]:
    """Return the parts in the precision that is kept; pixels, which are integers, stay as they are.

    ``int8`` is ``round(x / s)`` with ``s = max |x| / 127`` over the last axis: one scale for each token.

    Raises:
        ValueError: a value that is no number, or one beyond the range of fp16.
    """
    packed: dict[str, Tensor] = {}
    for name, values in parts.items():
        if not values.is_floating_point():
            packed[name] = values
            continue
        if not values.isfinite().all():
            raise ValueError(
                f"{name} holds values that are no numbers (NaN or "
                "infinite): the trunk computes beyond the range of "
                "its numbers; take another model.backbone.frozen_dtype"
            )
        if kept == "int8":
            packed[name], packed[name + _SCALE] = _quantized(values.float())
            continue
        packed[name] = values.to(_DTYPES[kept])
        if not packed[name].isfinite().all():
            raise ValueError(
                f"dtype {kept}: {name} holds numbers beyond its range; take bf16"
            )
    return packed


def _quantized(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 numbers and their scales."""
    largest = values.abs().amax(-1, keepdim=True)
    # A token of zeros has a scale above 0, too, by which it can be divided.
    scale = largest.clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST
    return (values / scale).round().to(torch.int8), scale


def unpack(
    packed: Mapping[str, Tensor], dtypes: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return the parts in the type in which the trunk computed them, by name."""
    parts: dict[str, Tensor] = {}
    for name in _names(packed):
        scale = packed.get(name + _SCALE)
        values = packed[name] if scale is None else packed[name] * scale
        parts[name] = values.to(getattr(torch, dtypes[name]))
    return parts


def num_bytes(packed: Mapping[str, Tensor]) -> int:
    """Return the bytes of the tensors of a row."""
    return sum(values.nbytes for values in packed.values())


def write(path: Path, rows: Sequence[FeatureRow]) -> None:
    """Write a shard under a temporary name, through to the disk, then give it its own."""
    tensors: dict[str, Tensor] = {}
    for name in rows[0].parts:
        tensors[name] = torch.stack([row.parts[name] for row in rows])
    labels: list[tuple[int, ...]] = []
    clips: list[int] = []
    faults: dict[str, str] = {}
    for number, row in enumerate(rows):
        labels.append(row.labels)
        clips.append(row.clip)
        if row.fault:
            faults[str(number)] = row.fault
    tensors[_LABELS] = torch.tensor(labels)
    tensors[_CLIP] = torch.tensor(clips)
    for name in _names(rows[0].parts):
        tensors[name + _CHECKSUM] = torch.tensor(
            [_checksum(row, name) for row in rows]
        )
    with atomic_write(path) as partial:
        save_file(tensors, partial, {"faults": json.dumps(faults, sort_keys=True)})
        with partial.open("rb") as file:
            # Before the file gets its name: else a power cut may leave the name without the bytes.
            os.fsync(file.fileno())


class Shard:
    """Read the rows of a shard, which is open.

    Args:
        path: its file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged; also when a row is read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: is missing; run the same "
                "`lightning-petl cache build` to make it"
            )
        self._path = path
        try:
            # Before safetensors reads it: a header may promise more than memory holds.
            check_header(path)
            self._file = safe_open(path, framework="pt")
            self._faults = _faults((self._file.metadata() or {})["faults"])
            self._keys = set(self._file.keys())
            self.num_rows = int(self._file.get_slice(_CLIP).get_shape()[0])
        except _UNREADABLE as error:
            raise ValueError(damaged(path)) from error
        self._names: list[str] = []
        for key in sorted(self._keys):
            if key.endswith(_CHECKSUM):
                self._names.append(key.removesuffix(_CHECKSUM))

    @property
    def num_faults(self) -> int:
        """Return the number of rows whose own video could not be read."""
        return len(self._faults)

    def row(self, number: int, names: Collection[str] | None = None) -> FeatureRow:
        """Read row ``number``: the parts of these names, or all.

        Raises:
            ValueError: a part is not what its checksum says.
        """
        chosen = self._names
        if names is not None:
            chosen = list(filter(names.__contains__, chosen))
        try:
            row = self._row(number, chosen)
            for name in chosen:
                self._compare(row, name, number)
        except _UNREADABLE as error:
            raise ValueError(damaged(self._path)) from error
        return row

    def _row(self, number: int, names: Sequence[str]) -> FeatureRow:
        parts: dict[str, Tensor] = {}
        for name in names:
            for key in (name, name + _SCALE):
                if key in self._keys:
                    parts[key] = self._read(key, number)
        labels = cast(list[int], self._read(_LABELS, number).tolist())
        clip = int(self._read(_CLIP, number))
        return FeatureRow(
            parts, tuple(labels), clip, self._faults.get(str(number), "")
        )

    def _compare(self, row: FeatureRow, name: str, number: int) -> None:
        """Refuse a part that is not what its checksum says."""
        if int(self._read(name + _CHECKSUM, number)) != _checksum(row, name):
            raise ValueError(f"{name}: is not what its checksum says")

    def check(self, num_rows: int) -> None:
        """Read all rows.

        Raises:
            ValueError: one is damaged, or there is another number of them.
        """
        self.require_rows(num_rows)
        for number in range(num_rows):
            self.row(number)

    def require_rows(self, num_rows: int) -> None:
        """Raise ``ValueError`` where there is another number of rows."""
        if self.num_rows != num_rows:
            raise ValueError(damaged(self._path))

    def _read(self, key: str, number: int) -> Tensor:
        return cast(Tensor, self._file.get_slice(key)[number])


def _names(parts: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the parts, without those of their scales."""
    return [name for name in parts if not name.endswith(_SCALE)]


def _checksum(row: FeatureRow, name: str) -> int:
    """Return the CRC-32 of a part, its scales, their names, types and shapes, and what the row says of its video."""
    # With what the row says, so that neither a label nor a fault can be moved to another row.
    total = zlib.crc32(json.dumps([*row.labels, row.clip, row.fault]).encode())
    for key in (name, name + _SCALE):
        part = row.parts.get(key)
        if part is None:
            continue
        kind = f"{key} {part.dtype} {tuple(part.shape)}"
        total = zlib.crc32(kind.encode(), total)
        # As bytes, because NumPy has no bfloat16.
        data = part.contiguous().flatten().view(torch.uint8).numpy().data
        total = zlib.crc32(data, total)
    return total


def _faults(text: str) -> dict[str, str]:
    found = json.loads(text)
    for fault in found.values():
        if not isinstance(fault, str):
            raise ValueError("faults are no texts")
    return found


def damaged(path: Path) -> str:
    """Return what is told of a shard that cannot be used."""
    return f"{path}: this shard is damaged; run the same `lightning-petl cache build` again, which makes it anew"
