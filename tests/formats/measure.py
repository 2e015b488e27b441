"""What the golden files are read with: the loaders of this version, and inputs that no other release can change.

``write.py`` records what these functions return; ``test_formats.py`` compares it with what they return later.
Each expects a copy of the golden files as the current folder, with :func:`complete` called once, because the
configurations in it hold relative paths.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_modules.storage import manifest
from lightning_petl.__main__ import main
from lightning_petl.adapters import Adapter
from lightning_petl.artifacts.recipes import decode
from lightning_petl.tasks.loading import load

TRUNK, TRUNK_FILE = "test_vit", "trunk.safetensors"
RUNS = ("bank", "cached", "stack")
MODIFIED = 1_700_000_000
"""Seconds since 1970 at which every file counts as written: a manifest holds the time, and git keeps none."""


def complete(folder: Path) -> None:
    """Write the trunk into a copy of the golden files, and set the times of its videos."""
    write_trunk(folder / TRUNK_FILE)
    for path in [*folder.rglob("*.mp4"), *folder.rglob("*.tar")]:
        os.utime(path, (MODIFIED, MODIFIED))


def write_trunk(path: Path) -> None:
    """Write weights of timm's smallest trunk.

    They are multiples of ``2 ** -16`` from numpy's frozen generator, so that every machine and release has the same
    bits; random initial values of PyTorch and timm may change.
    """
    model = timm.create_model(TRUNK, num_classes=0)
    state = dict[str, torch.Tensor]()
    for name, value in model.state_dict().items():
        generator = np.random.RandomState(zlib.crc32(name.encode()))
        numbers = generator.randint(-(2**14), 2**14, size=tuple(value.shape))
        state[name] = torch.from_numpy(numbers).float() / 2**16
        if "norm" in name and name.endswith("weight"):
            state[name] += 1
    save_file(state, path)


def logits(folder: Path) -> list[list[float]]:
    """Return the logits of an artifact on two clips, "b k"."""
    model = load(folder, weights=TRUNK_FILE)
    generator = np.random.RandomState(0)
    pixels = generator.randint(0, 256, size=(2, 1, 4, 3, 32, 32)).astype(np.uint8)
    with torch.no_grad():
        return model(torch.from_numpy(pixels)).mean(1).tolist()


def decoded(file: Path) -> list[Adapter]:
    """Return the methods that an artifact's configuration names."""
    config = json.loads(file.read_text("utf-8"))
    return [decode(entry, Adapter) for entry in config["adapters"]]


def resumed(run: str) -> dict[str, list[list[float]]]:
    """Train a run for one more epoch; return (step, value) of all that it has logged of losses and metrics."""
    flags = ["--trainer.max_epochs=3", f"--run_folder={run}"]
    assert main(["fit", "--config", f"{run}/config.yaml", *flags]) == 0
    events = EventAccumulator(run)
    events.Reload()
    return {
        name: [[event.step, event.value] for event in events.Scalars(name)]
        for name in sorted(events.Tags()["scalars"])
        if "train/" in name or "val/" in name
    }


def tested(run: str, *flags: str) -> dict[str, list[float]]:
    """Return the logits of the best checkpoint of a run, by name of the clip."""
    root = Path("tested")
    places = [f"--run_folder={run}", f"--trainer.default_root_dir={root}"]
    assert main(["test", *places, *flags]) == 0
    lines = (
        (root / "version_0" / "test_scores.jsonl").read_text("utf-8").splitlines()
    )
    rows = map(json.loads, lines)
    return {
        row["clip_id"]: np.array(row["logits"]).ravel().tolist() for row in rows
    }


def tested_on(copy: str) -> dict[str, list[float]]:
    """Return the logits from an ingested copy of the videos, which themselves are gone."""
    shutil.rmtree("videos")
    return tested("trained/stack", f"--data.files.ingested={copy}")


def indexed(root: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest, each with whether it describes the file that is there."""
    entries = manifest.read(root / manifest.NAME).values()
    return [
        {
            "path": entry.path,
            "status": entry.status,
            "reason": entry.reason,
            "info": entry.info and list(entry.info),
            "holds": manifest.describes(entry, root / entry.path),
        }
        for entry in entries
    ]


def parts(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what is measured of the golden files in ``folder``, by name; each in a fresh copy of them."""
    artifacts = sorted(path.parent.name for path in folder.rglob("adapter_model.*"))
    copies = ("ingested/files", "ingested/shards")
    return {
        **{
            f"logits of {n}": partial(logits, Path("artifacts", n))
            for n in artifacts
        },
        **{f"resumed {n}": partial(resumed, f"trained/{n}") for n in RUNS},
        "tested stack": partial(tested, "trained/stack"),
        **{f"tested on {n}": partial(tested_on, n) for n in copies},
        **{
            f"manifest of {n}": partial(indexed, Path(n))
            for n in ("damaged", "videos")
        },
    }
