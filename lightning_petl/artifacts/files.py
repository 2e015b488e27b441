"""Read the files of an adapter artifact, and compare them before anything is built from them."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors.torch import load_file
from torch import Tensor

from data_modules.io.names import ENCODING, ERRORS
from data_modules.io.untrusted import TensorInfo, inside, read_json, tensors_of
from lightning_petl.backbones.readout import READOUTS

SCHEMA = 1
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
LABELS = "labels.json"
SHA256 = "sha256"
"""Key of the checksums in ``adapter_config.json``; without it, nothing but the structure is compared."""

# bytes: a file of anybody may not fill the memory before it is refused
_MOST_CONFIG = 1 << 20
_MOST_LABELS = 1 << 22
_KEYS = {"schema", "backbone", "adapters", "head", "preprocessing", "protocol"}
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Contents(NamedTuple):
    """Hold what an artifact says of itself.

    Attributes:
        folder: where it lies.
        config: its ``adapter_config.json``; what it says of the trunk has the right types and sane sizes.
        labels: class names by index.
        tensors: types and shapes of its weights, by name.
    """

    folder: Path
    config: dict[str, Any]
    labels: list[str]
    tensors: dict[str, TensorInfo]

    def described(self) -> dict[str, Tensor]:
        """Return tensors without memory that have the types and shapes of the weights.

        Raises:
            ValueError: a type that no artifact has.
        """
        other: list[str] = []
        found: dict[str, Tensor] = {}
        for name, info in self.tensors.items():
            dtype = _DTYPES.get(info.dtype)
            if dtype is None:
                other.append(f"{name} is {info.dtype}")
                continue
            found[name] = torch.empty(info.shape, dtype=dtype, device="meta")
        if other:
            raise ValueError(
                f"{self.folder / WEIGHTS}: holds numbers of another type: {', '.join(other[:5])}"
            )
        return found

    def weights(self) -> dict[str, Tensor]:
        """Read the weights, after all files were compared with their checksums; warn where the labels have changed.

        Raises:
            ValueError: weights or configuration are not as they were written, or a weight is no number.
        """
        self._check_sums()
        weights = load_file(inside(self.folder, WEIGHTS))
        bad: list[str] = []
        for name, value in weights.items():
            if not bool(value.isfinite().all()):
                bad.append(name)
        if bad:
            raise ValueError(
                f"{self.folder / WEIGHTS}: {len(bad)} tensors are not finite: {', '.join(bad[:5])}"
            )
        return weights

    def _check_sums(self) -> None:
        held = self.config.get(SHA256)
        if held is None:
            return
        for name, found in checksums(self.folder, self.config).items():
            sums = (
                cast(Mapping[str, Any], held) if isinstance(held, Mapping) else {}
            )
            if sums.get(name) == found:
                continue
            if name == LABELS:
                # users edit it to rename their classes; damage shows in the names
                rank_zero_warn(
                    f"{self.folder / name}: is not as it was written; the class names in it now are used"
                )
            else:
                raise ValueError(
                    f"{self.folder / name}: is not as it was written, its checksum is another one: copy the artifact "
                    f"again; if you changed it yourself, take {SHA256} out of {CONFIG}"
                )


def read(folder: Path) -> Contents:
    """Read what an artifact says of itself; its weights are not read yet.

    Raises:
        FileNotFoundError: not an artifact.
        ValueError: a file is damaged, of another schema, or leads out of the folder.
    """
    names = (CONFIG, WEIGHTS, LABELS)
    missing = [name for name in names if not (folder / name).is_file()]
    links = [name for name in missing if (folder / name).is_symlink()]
    if missing and not links:
        raise FileNotFoundError(
            f"{folder} is not an adapter artifact: it has no {', '.join(missing)}"
        )
    paths = {name: inside(folder, name) for name in names}
    if links:
        raise FileNotFoundError(f"{paths[links[0]]}: is a link to nothing")
    config = _checked_config(
        read_json(paths[CONFIG], most=_MOST_CONFIG), paths[CONFIG]
    )
    labels = _checked_labels(
        read_json(paths[LABELS], most=_MOST_LABELS), paths[LABELS]
    )
    return Contents(folder, config, labels, tensors_of(paths[WEIGHTS]))


def checksums(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the weights, of the labels, and of ``config`` but for the checksums themselves."""
    described = dict(config)
    described.pop(SHA256, None)
    # sorted, so that a file whose keys were put in another order is still the same
    plain = json.dumps(described, sort_keys=True)
    found = {CONFIG: hashlib.sha256(plain.encode()).hexdigest()}
    for name in (WEIGHTS, LABELS):
        with inside(folder, name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _checked_config(config: Any, path: Path) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected an object, got {type(config).__name__}")
    found = cast(dict[str, Any], config)
    if found.get("schema") != SCHEMA or isinstance(found["schema"], bool):
        raise ValueError(
            f"{path} has schema {repr(found.get('schema'))[:80]}; this version reads {SCHEMA}"
        )
    _require_keys(found, _KEYS, _KEYS | {SHA256}, str(path))
    _check(found["backbone"], _TRUNK, f"{path}: backbone")
    _check(found["preprocessing"], _PIXELS, f"{path}: preprocessing")
    for key, kind in (("adapters", list), ("head", dict), ("protocol", dict)):
        if not isinstance(found[key], kind):
            raise ValueError(
                f"{path}: {key}: expected {kind.__name__}, got {type(found[key]).__name__}"
            )
    return found


def _checked_labels(labels: Any, path: Path) -> list[str]:
    found = cast(list[Any], labels) if isinstance(labels, list) else [None]
    if not all(isinstance(label, str) for label in found):
        raise ValueError(f"{path}: expected a list of class names")
    names = cast(list[str], found)
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: a class name occurs twice")
    for name in names:
        _require_whole_characters(name, path)
    return names


def _require_whole_characters(name: str, path: Path) -> None:
    """Refuse half of a surrogate pair, which JSON can hold; bytes of a file's name that are no UTF-8 may stay."""
    try:
        name.encode(ENCODING, ERRORS)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{path}: the class name {name!a:.80} holds half of a character, which no file can"
        ) from error


def _is_text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, str) and re.fullmatch(pattern, value) is not None
    )


def _is_count(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 1 <= value <= most


def _is_one_of(names: Sequence[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


def _are_three_numbers(value: Any) -> bool:
    numbers = cast(list[Any], value) if isinstance(value, list) else []
    return len(numbers) == 3 and all(
        type(number) in (int, float) for number in numbers
    )


# key -> what it must be, in words, and its test
_Rules = Mapping[str, tuple[str, Callable[[Any], bool]]]
_TRUNK: _Rules = {
    "name": ("the name of a model", _is_text(r"(open_clip:)?\w[\w.-]{0,199}")),
    "weights": ("text", _is_text(r"(?s).*")),
    "weights_hash": ("64 hexadecimal digits", _is_text(r"[0-9a-f]{64}")),
    "image_size": ("1 to 2048 pixels", _is_count(2048)),
    "num_frames": ("1 to 1024 frames", _is_count(1024)),
    "depth": ("1 to 1000 blocks", _is_count(1000)),
    "readout": (f"one of {', '.join(READOUTS)}", _is_one_of(tuple(READOUTS))),
    "frozen_dtype": ("float32 or bfloat16", _is_one_of(("float32", "bfloat16"))),
}
_PIXELS: _Rules = dict.fromkeys(
    ("mean", "std"), ("three numbers", _are_three_numbers)
)


def _check(entry: Any, rules: _Rules, where: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object, got {type(entry).__name__}")
    found = cast(dict[str, Any], entry)
    _require_keys(found, set(rules), set(rules), where)
    for key, (told, fits) in rules.items():
        if not fits(found[key]):
            raise ValueError(
                f"{where}.{key}: expected {told}, got {repr(found[key])[:80]}"
            )


def _require_keys(
    entry: Mapping[str, Any], needed: set[str], known: set[str], where: str
) -> None:
    missing = sorted(needed - entry.keys())
    unknown = sorted(entry.keys() - known)
    if missing:
        raise ValueError(f"{where}: lacks {', '.join(missing)}")
    if unknown:
        raise ValueError(
            f"{where}: has the unknown {repr(unknown[0])[:80]}; known are {', '.join(sorted(known))}"
        )
