"""Two hundred ways to spoil an adapter artifact, from one seeded list."""

import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lightning_petl.artifacts.files import CONFIG, LABELS, SHA256, WEIGHTS

Mutation = Callable[[Path], None]
FOREIGN = "module_of_a_stranger"
"""A module that must never be imported."""


def mutations(seed: int = 0) -> Iterator[tuple[str, Mutation]]:
    """Name and function of each; the function changes a good artifact in place."""
    draw = random.Random(seed)
    for number in range(40):
        name = (CONFIG, WEIGHTS, LABELS)[number % 3]
        yield (
            f"byte {number} of {name}",
            partial(
                _flip, name=name, where=draw.random(), bit=1 << draw.randrange(8)
            ),
        )
    for number in range(24):
        name = (CONFIG, WEIGHTS, LABELS)[number % 3]
        yield (
            f"cut {number} of {name}",
            partial(_cut, name=name, keep=draw.random()),
        )
    for name in (CONFIG, WEIGHTS, LABELS):
        yield f"{name} is empty", partial(_cut, name=name, keep=0.0)
        yield f"{name} is not there", partial(_remove, name=name)
        yield f"{name} is a folder", partial(_folder, name=name)
        yield f"{name} is a pipe", partial(_pipe, name=name)
        for target in ("/etc/passwd", "/dev/zero", "nothing", name, "../outside"):
            yield (
                f"{name} is a link to {target}",
                partial(_link, name=name, target=target),
            )
    for header in _headers():
        yield f"header {repr(header)[:50]}", partial(_header, change=header)
    for path, value in _values():
        yield (
            f"{path} = {repr(value)[:40]}",
            partial(_set, path=path.split("."), value=value),
        )
    for text in _texts():
        yield f"config {text[:40]}", partial(_write, name=CONFIG, text=text)
        yield f"labels {text[:40]}", partial(_write, name=LABELS, text=text)
    yield from _tensors()


def _flip(folder: Path, name: str, where: float, bit: int) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(where * len(content))] ^= bit
    (folder / name).write_bytes(content)


def _cut(folder: Path, name: str, keep: float) -> None:
    os.truncate(folder / name, int(keep * (folder / name).stat().st_size))


def _remove(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _folder(folder: Path, name: str) -> None:
    _remove(folder, name)
    (folder / name).mkdir()


def _pipe(folder: Path, name: str) -> None:
    _remove(folder, name)
    os.mkfifo(folder / name)


def _link(folder: Path, name: str, target: str) -> None:
    if target == "../outside":
        (folder.parent / "outside").write_bytes((folder / name).read_bytes())
    _remove(folder, name)
    (folder / name).symlink_to(target)


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, "utf-8")


def _set(folder: Path, path: list[str], value: Any) -> None:
    """Set a value of the configuration, without checksums, which would tell of every change."""
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    config.pop(SHA256)
    inner: Any = config
    for key in path[:-1]:
        inner = inner[int(key) if key.isdigit() else key]
    inner[int(path[-1]) if path[-1].isdigit() else path[-1]] = value
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")


def _values() -> Iterator[tuple[str, Any]]:
    """Keys of the configuration by their dotted paths, and what stands there instead."""
    yield from (("schema", value) for value in (2, "1", None, True, 10**30))
    for key in ("backbone", "adapters", "head", "preprocessing", "protocol"):
        yield from ((key, value) for value in (None, 7, "text", [[]]))
    yield "unknown", 1
    yield "backbone.unknown", 1
    yield "backbone.deferred", True
    names = (
        "no_such_model",
        "../vit",
        "hf-hub:a/b",
        "local-dir:/tmp",
        "open_clip:no-such",
        "vit_base_patch16_224",
    )
    yield from (("backbone.name", value) for value in (*names, 3, "a" * 10**5))
    yield from (
        ("backbone.weights", value)
        for value in ("/etc/passwd", "../outside", "trunk.pth", 5, None)
    )
    yield from (("backbone.weights_hash", value) for value in ("0" * 64, "x", None))
    for key in ("image_size", "num_frames", "depth"):
        yield from (
            (f"backbone.{key}", value)
            for value in (0, -1, 10**6, 10**18, 10**30, 1.5, "32", True)
        )
    yield from (("backbone.readout", value) for value in ("map", "__init__", 1))
    yield from (
        ("backbone.frozen_dtype", value) for value in ("float64", "bfloat16x", None)
    )
    yield from (
        ("preprocessing.mean", value)
        for value in ([0.0, 0.0, 0.0], [0.5], "x", [None] * 3)
    )
    stranger = {"class_path": f"{FOREIGN}.Method", "init_args": {}}
    yield from (
        ("adapters.0", value)
        for value in (stranger, None, {}, {"class_path": "os.system"}, [stranger])
    )
    paths = (
        f"{FOREIGN}.Method",
        "os.system",
        "pathlib.Path",
        "builtins.eval",
        "this.s",
        "torch.nn.Linear",
        "lightning_petl",
        "",
    )
    yield from (
        ("adapters.0.class_path", value)
        for value in (*paths, None, "lightning_petl.heads.linear.LinearHead")
    )
    yield from (
        ("adapters.0.init_args", value) for value in (None, [], {"no_such": 1})
    )
    yield from (
        ("adapters.1.init_args.rank", value)
        for value in (0, 3, 200, 10**12, 10**30, -1, "2", 2.0, None, [2])
    )
    yield from (
        ("adapters.1.init_args.targets", value)
        for value in (["x"], "q", [], ["q", "q"], [["q"]], [stranger])
    )
    yield from (
        ("adapters.0.init_args.lora", value)
        for value in (stranger, 3, {"class_path": 3, "init_args": {}})
    )
    yield from (
        ("head", value)
        for value in (
            stranger,
            {"dropout": "x"},
            {"std": -1.0},
            {"classes": 10**12},
        )
    )
    for key in ("image_size", "views", "sampling", "crop"):
        yield from (
            (f"protocol.{key}", value)
            for value in (None, 10**18, "x", [], {"name": "os.system"})
        )
    yield "protocol.views", f"{10**9}x3"
    yield from (
        ("protocol.sampling.num_frames", value) for value in (0, 10**9, "2")
    )
    yield "protocol.crop", {"crop_ratio": 0.0}


def _texts() -> Iterator[str]:
    yield from (
        "",
        "null",
        "[]",
        "{}",
        "[1]",
        "not JSON",
        '"${oc.env:HOME}"',
        "\ufeff{}",
        "[" * 10**5,
    )
    yield from (
        '{"schema": 1, "schema": 1}',
        '{"schema": NaN}',
        '{"schema": 1e999}',
        '["a", "a"]',
        '["a", ["b"]]',
        '["a", "\\ud83d", "c"]',
    )


def _headers() -> Iterator[Any]:
    """Lengths of the header, and headers, of the weights."""
    yield from (0, 1, 1 << 20, 1 << 40, (1 << 64) - 1)
    for shape, offsets in (
        ([10**12], [0, 4]),
        ([1 << 62, 4], [0, 4]),
        ([1], [0, 1 << 62]),
        ([-1], [0, 4]),
        ([1], [4, 0]),
    ):
        yield {"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
    yield {"a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}}
    yield {"a": {"dtype": "F32", "shape": [0, 1 << 60], "data_offsets": [0, 0]}}
    yield []


def _header(folder: Path, change: Any) -> None:
    path = folder / WEIGHTS
    content = path.read_bytes()
    if isinstance(change, int):
        path.write_bytes(struct.pack("<Q", change) + content[8:])
        return
    header = json.dumps(change).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def _tensors() -> Iterator[tuple[str, Mutation]]:
    """Valid files of other tensors, without checksums."""

    def changed(
        folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]
    ) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS)
        _set(folder, ["schema"], 1)

    def to(kind: torch.dtype) -> Callable[[dict[str, torch.Tensor]], Any]:
        return lambda weights: weights.update(
            {key: value.to(kind) for key, value in weights.items()}
        )

    def of_first(
        function: Callable[[torch.Tensor], torch.Tensor],
    ) -> Callable[[dict[str, torch.Tensor]], Any]:
        return lambda weights: weights.update(
            {min(weights): function(weights[min(weights)])}
        )

    yield from (
        (f"dtype {kind}", partial(changed, change=to(kind)))
        for kind in (torch.float64, torch.float16, torch.int32)
    )
    yield (
        "NaN",
        partial(changed, change=of_first(lambda value: value.fill_(float("nan")))),
    )
    yield (
        "infinity",
        partial(changed, change=of_first(lambda value: value.fill_(float("inf")))),
    )
    yield (
        "transposed",
        partial(changed, change=of_first(lambda value: value[None].clone())),
    )
    yield (
        "one less",
        partial(changed, change=lambda weights: weights.pop(min(weights))),
    )
    yield (
        "one more",
        partial(
            changed, change=lambda weights: weights.update(more=torch.zeros(1))
        ),
    )
    yield (
        "another name",
        partial(
            changed,
            change=lambda weights: weights.update(x=weights.pop(min(weights))),
        ),
    )
