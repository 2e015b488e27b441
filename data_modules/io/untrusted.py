"""Files that somebody else may have written.

They are read without believing what they say of themselves: nothing here runs code from
a file, follows a link out of the folder that the user named, or allocates memory for a
number that was not first compared with the size of the file.
"""

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

# bytes; the header of a model of ten thousand tensors takes one million
_MOST_HEADER = 1 << 23


class TensorInfo(NamedTuple):
    """Hold what the header of a safetensors file says of one tensor.

    Attributes:
        dtype: as safetensors writes it, such as ``F32``.
        shape: number of entries along each axis.
    """

    dtype: str
    shape: tuple[int, ...]


def inside(folder: Path, name: str) -> Path:
    """Return the path of the file ``name`` in ``folder``.

    Args:
        folder: what the user named; it may itself be a link.
        name: from ``folder``, with slashes.

    Raises:
        ValueError: the name is absolute, goes up by ``..``, or leads through a link to another folder.
    """
    parts = PurePosixPath(name).parts
    if (
        not parts
        or "\0" in name
        or ".." in parts
        or PurePosixPath(name).is_absolute()
    ):
        raise ValueError(
            f"{folder}: names the file {name!r}, which does not lie in this folder"
        )
    path = folder / name
    if not leads_inside(path, folder):
        raise ValueError(
            f"{path}: is a link that leads out of its folder, and is not "
            "followed; copy the folder with the files that "
            "its links point to, as `cp -rL` does"
        )
    return path


def leads_inside(path: Path, folder: Path) -> bool:
    """Tell whether ``path``, with all links followed, lies in ``folder``."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False  # links that lead in a circle, a name that is too long


def read_json(path: Path, *, most: int) -> Any:
    """Return the content of a JSON file of plain, finite, unambiguous values.

    Args:
        path: the file.
        most: largest size, bytes.

    Raises:
        ValueError: too large, no JSON, a key that occurs twice, a number that is not finite, too deeply nested.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if size > most:
        raise ValueError(
            f"{path}: has {size} bytes; a file of this kind has at most {most}"
        )
    try:
        return json.loads(
            path.read_bytes().decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError(f"{path}: is nested too deeply") from None
    except ValueError as error:  # also of a text that is not UTF-8
        raise ValueError(f"{path}: is damaged, or no JSON: {error}") from error


def tensors_of(path: Path) -> dict[str, TensorInfo]:
    """Return types and shapes of the tensors of a safetensors file by name.

    They fill the file exactly.

    Raises:
        ValueError: the file is cut short, damaged or something else.
        OSError: it cannot be read.
    """
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            found = dict[str, TensorInfo]()
            for name in file.keys():  # noqa: SIM118  # not a dict
                tensor = file.get_slice(name)  # reads no values
                shape = tuple(tensor.get_shape())
                found[name] = TensorInfo(tensor.get_dtype(), shape)
            return found
    except (SafetensorError, OverflowError, ValueError) as error:
        raise ValueError(_damaged(path)) from error


def check_header(path: Path) -> None:
    """Compare the length of a safetensors header with the size of its file; the library checks the rest.

    Raises:
        ValueError: the header would be longer than the file, or than that of any model.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or int.from_bytes(start, "little") > min(
        size - 8, _MOST_HEADER
    ):
        raise ValueError(_damaged(path))


def _damaged(path: Path) -> str:
    return f"{path}: is damaged, cut short, or no safetensors file"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a JSON file; json.loads would drop all but the last value."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"the key {twice!r} occurs twice")


def _finite(text: str) -> float:
    """Return a number; ValueError for NaN, Infinity and 1e999."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value
