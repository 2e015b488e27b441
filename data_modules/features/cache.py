"""Read what a frozen trunk computed of every clip from a folder, in the place of the clips."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from torch import Tensor

from data_modules.features import contents
from data_modules.features.dataset import FeatureDataset, Part, SplitLayout
from data_modules.features.shards import Kept, Shard, unpack
from data_modules.io.atomic import atomic_write
from data_modules.io.untrusted import inside, read_json
from data_modules.sample import Clip, OnFault
from data_modules.storage.content import changed

INDEX = "index.json"
# What a damaged or foreign index may not exceed: it is read into memory, and its counts become ranges.
_MOST_INDEX = 1 << 22  # bytes
_MOST_ROWS = 10**9
# Caches keep the name that a class had at first: another one would ask for a new pass of the trunk.
_NAMES_IN_CACHES = {"ColorJitter": "ColourJitter"}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "uint8")


class Index(NamedTuple):
    """Hold all that a cache says of itself.

    Attributes:
        key: what its values depend on: ``trunk``, and each split.
        parts: the type in which the trunk computed each part, by name.
        kept: the precision that is kept of them.
        layout: of each split.
    """

    key: dict[str, Any]
    parts: dict[str, str]
    kept: Kept
    layout: dict[str, SplitLayout]


def write_index(folder: Path, index: Index) -> None:
    """Write the index, whole or not at all."""
    text = json.dumps(index._asdict(), indent=1, sort_keys=True)
    with atomic_write(folder / INDEX) as partial:
        partial.write_text(text, "utf-8")


def read_index(folder: Path) -> Index:
    """Return what the folder's index says.

    Raises:
        FileNotFoundError: the folder holds no cache.
        ValueError: its index is damaged.
    """
    path = inside(folder, INDEX)
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: holds no feature cache; `lightning-petl cache build` makes one"
        )
    index = read_json(path, most=_MOST_INDEX)
    if not _is_index(index):
        raise ValueError(
            f"{path}: is no index of a feature cache; empty the folder and build again"
        )
    layout: dict[str, SplitLayout] = {}
    for split, counts in index["layout"].items():
        layout[split] = SplitLayout(*counts)
    return Index(**index)._replace(layout=layout)


def _is_index(value: Any) -> bool:
    """Tell whether all values are there, of the right types, and with counts that a cache can have."""
    if not isinstance(value, dict):
        return False
    values = cast(dict[str, Any], value)
    if values.keys() != set(Index._fields):
        return False
    parts = values["parts"]
    layout = values["layout"]
    for mapping in (values["key"], parts, layout):
        if not isinstance(mapping, dict):
            return False
    for dtype in parts.values():
        if dtype not in _DTYPES:
            return False
    # Types are looked up by their names in torch, counts become sizes: neither is taken on trust.
    return values["kept"] in get_args(Kept) and all(
        map(_is_layout, layout.values())
    )


def _is_layout(value: Any) -> bool:
    counts = cast(list[Any], value) if isinstance(value, list) else []
    for count in counts:
        # Not isinstance: True is an int, too.
        if type(count) is not int or not 1 <= count <= _MOST_ROWS:
            return False
    return len(counts) == len(SplitLayout._fields)


class FeatureCache:
    """Read a cache in the place of videos, after comparing it with what a run wants.

    Args:
        folder: what ``lightning-petl cache build`` wrote.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_index`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = read_index(folder)
        self._names: Collection[str] | None = None
        self._taken: dict[str, Part] = {}

    @property
    def parts(self) -> list[str]:
        """Return the names of all that is kept of a clip."""
        return list(self._index.parts)

    def names_are(self, split: str, wanted: Mapping[str, Any]) -> bool:
        """Tell whether the cache keeps the clips of ``wanted`` and no others of a split, by their names."""
        held = self._index.key.get(split)
        is_key = isinstance(held, Mapping)
        return is_key and held.get("names") == wanted["names"]

    def take(self, split: str, part: Part) -> None:
        """Read a part of the clips of a split from now on."""
        self._taken[split] = part

    def require_data(self, wanted: Mapping[str, Any]) -> None:
        """Compare how clips are chosen, read and augmented, by split.

        Raises:
            ValueError: the cache lacks a split, or differs in anything; every difference is named.
            FileNotFoundError: a shard is missing.
        """
        for split in wanted:
            if split not in self._index.layout:
                held = ",".join([*self._index.layout, split])
                raise ValueError(
                    f"{self._folder}: holds no {split} "
                    f"split; build it with --splits=[{held}]"
                )
        # Differences first: where they are told, missing shards say nothing more.
        self._require(wanted)
        for split in wanted:
            for name, rows in self._index.layout[split].shards(split):
                Shard(inside(self._folder, name)).require_rows(len(rows))

    def require_videos(self, split: str, clips: Sequence[Clip]) -> None:
        """Compare the videos of a split with those of which the features were computed, by size, time and a sample.

        Raises:
            ValueError: some are others.
        """
        held = contents.read(self._folder, split, self._index.layout[split].clips)
        if split in self._taken:
            held = [held[number] for number in self._taken[split].numbers]
        numbers = changed([clip.path for clip in clips], held)
        if numbers:
            names = [clip.clip_id for clip in clips]
            sentence = contents.complaint(self._folder, split, numbers, names)
            raise ValueError(
                f"{sentence}; run the same `lightning-petl cache "
                "build` again, which makes their features anew"
            )

    def require_trunk(
        self, wanted: Mapping[str, Any], names: Collection[str]
    ) -> None:
        """Compare the trunk, and read these parts alone from now on.

        Raises:
            ValueError: it is another one; every difference is named.
        """
        self._require({"trunk": dict(wanted)})
        self._names = names

    def _require(self, wanted: Mapping[str, Any]) -> None:
        differs = differences(self._index.key, wanted)
        if differs:
            raise ValueError(
                f"{self._folder}: is the cache of something else: "
                f"{'; '.join(differs)}; set these back, or build a "
                "cache of this run"
            )

    def dataset(
        self, split: str, clips: Sequence[Clip], *, on_fault: OnFault
    ) -> FeatureDataset:
        """Return the samples of a split."""
        layout = self._index.layout[split]
        paths = [self._folder / name for name, _ in layout.shards(split)]
        return FeatureDataset(
            paths, layout, clips, self._names, on_fault, self._taken.get(split)
        )

    def restored(self, packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parts as the trunk computed them, up to the precision that was kept; on their device."""
        return unpack(packed, self._index.parts)


def described(value: object) -> Any:
    """Return a recipe in JSON types: the names of its classes and all of their fields.

    Example: ``Grayscale(0.2)`` is ``{"class": "Grayscale", "probability": 0.2}``.
    """
    if is_dataclass(value):
        name = type(value).__name__
        found: dict[str, Any] = {"class": _NAMES_IN_CACHES.get(name, name)}
        for field in fields(value):
            found[field.name] = described(getattr(value, field.name))
        return found
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [described(item) for item in cast(Sequence[object], value)]
    return value


def fingerprint(clips: Sequence[Clip], labels: Sequence[str]) -> str:
    """Return a SHA-256 of which clips there are, in which order, and what they are called."""
    listed = [[clip.clip_id, clip.label] for clip in clips]
    text = json.dumps([list(labels), listed])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def differences(held: Any, wanted: Any, name: str = "") -> list[str]:
    """Return every value of ``wanted`` that is another one in ``held``, a sentence each, by its dotted name."""
    if isinstance(held, Mapping) and isinstance(wanted, Mapping):
        found: list[str] = []
        for key, value in cast(Mapping[str, Any], wanted).items():
            found += differences(held.get(key), value, f"{name}.{key}".lstrip("."))
        return found
    if held == wanted:
        return []
    return [f"{name} is {_short(held)} in the cache, here {_short(wanted)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
