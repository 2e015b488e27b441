"""Rows of a feature cache as files: each tensor of a row checked by itself, each file there whole or not at all."""

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
_SCALE, _CHECKSUM, _LABELS, _CLIP = ".scale", ".checksum", "labels", "clip"
_LARGEST = 127
# what a file raises that was not written by this module, wherever it is not what it should be
_UNREADABLE = (
    SafetensorError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
)


class Row(NamedTuple):
    """What is kept of one video.

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
    """Numbers in the precision that is kept; pixels stay as they are.

    ``int8`` is ``round(x / s)`` with ``s = max |x| / 127`` over the last axis: one scale for each token.

    Raises:
        ValueError: a value that is no number, or one beyond the range of fp16.
    """
    packed = dict[str, Tensor]()
    for name, values in parts.items():
        if not values.is_floating_point():
            packed[name] = values
        elif not values.isfinite().all():
            raise ValueError(
                f"{name} holds values that are no numbers (NaN or infinite): the trunk computes beyond the range of "
                "its numbers; take another model.backbone.frozen_dtype"
            )
        elif kept == "int8":
            scale = (
                values.float()
                .abs()
                .amax(-1, keepdim=True)
                .clamp_min(torch.finfo(torch.float32).tiny)
                / _LARGEST
            )
            packed |= {
                name: (values.float() / scale).round().to(torch.int8),
                name + _SCALE: scale,
            }
        else:
            packed[name] = values.to(_DTYPES[kept])
            if not packed[name].isfinite().all():
                raise ValueError(
                    f"dtype {kept}: {name} holds numbers beyond its range; take bf16"
                )
    return packed


def unpack(
    packed: Mapping[str, Tensor], dtypes: Mapping[str, str]
) -> dict[str, Tensor]:
    """The parts in the type in which the trunk computed them, by name."""
    parts = {
        name: values for name, values in packed.items() if not name.endswith(_SCALE)
    }
    for name, values in parts.items():
        scale = packed.get(name + _SCALE)
        parts[name] = (values if scale is None else values * scale).to(
            getattr(torch, dtypes[name])
        )
    return parts


def num_bytes(packed: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors of a row."""
    return sum(values.nbytes for values in packed.values())


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write a shard under a temporary name, through to the disk, then give it its own."""
    tensors = {
        name: torch.stack([row.parts[name] for row in rows]) for name in rows[0].parts
    }
    tensors[_LABELS] = torch.tensor([row.labels for row in rows])
    tensors[_CLIP] = torch.tensor([row.clip for row in rows])
    for name in _names(rows[0].parts):
        tensors[name + _CHECKSUM] = torch.tensor([_checksum(row, name) for row in rows])
    faults = {str(number): row.fault for number, row in enumerate(rows) if row.fault}
    with atomic_write(path) as partial:
        save_file(tensors, partial, {"faults": json.dumps(faults, sort_keys=True)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())


class Shard:
    """A shard that is open for reading.

    Args:
        path: its file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged; also when a row is read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: is missing; run the same `lightning-petl cache build` to make it"
            )
        self._path = path
        try:
            check_header(path)
            self._file = safe_open(path, framework="pt")
            self._faults = _faults((self._file.metadata() or {})["faults"])
            self._keys = set(self._file.keys())
            self.num_rows = int(self._file.get_slice(_CLIP).get_shape()[0])
        except _UNREADABLE as error:
            raise ValueError(damaged(path)) from error

    @property
    def num_faults(self) -> int:
        """Rows whose own video could not be read."""
        return len(self._faults)

    def row(self, number: int, names: Collection[str] | None = None) -> Row:
        """Read row ``number``: the parts of these names, or all."""
        try:
            chosen = sorted(
                key.removesuffix(_CHECKSUM)
                for key in self._keys
                if key.endswith(_CHECKSUM)
            )
            chosen = (
                chosen if names is None else [name for name in chosen if name in names]
            )
            keys = [
                key
                for name in chosen
                for key in (name, name + _SCALE)
                if key in self._keys
            ]
            parts = {key: self._read(key, number) for key in keys}
            labels = tuple(cast(list[int], self._read(_LABELS, number).tolist()))
            row = Row(
                parts,
                labels,
                int(self._read(_CLIP, number)),
                self._faults.get(str(number), ""),
            )
            right = [
                int(self._read(name + _CHECKSUM, number)) == _checksum(row, name)
                for name in chosen
            ]
        except _UNREADABLE as error:
            raise ValueError(damaged(self._path)) from error
        if not all(right):
            raise ValueError(damaged(self._path))
        return row

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
    return [name for name in parts if not name.endswith(_SCALE)]


def _checksum(row: Row, name: str) -> int:
    """Of a part, its scales, their names, types and shapes, and what the row says of its video."""
    total = zlib.crc32(json.dumps([*row.labels, row.clip, row.fault]).encode())
    for key in (name, name + _SCALE):
        if key in row.parts:
            part = row.parts[key]
            total = zlib.crc32(
                f"{key} {part.dtype} {tuple(part.shape)}".encode(), total
            )
            total = zlib.crc32(
                part.contiguous().flatten().view(torch.uint8).numpy().data, total
            )
    return total


def _faults(text: str) -> dict[str, str]:
    found = json.loads(text)
    if not all(isinstance(fault, str) for fault in found.values()):
        raise ValueError("faults are no texts")
    return found


def damaged(path: Path) -> str:
    """Return what is told of a shard that cannot be used."""
    return f"{path}: this shard is damaged; run the same `lightning-petl cache build` again, which makes it anew"
