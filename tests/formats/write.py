"""Writes the golden files of a release, once, by hand: ``python tests/formats/write.py 0.1.0``.

Run it with the code of that release, before anything in it changes, and commit the folder that it makes. Nothing in a
folder of an earlier release is ever written again: what these files say is what users have on their disks.
Everything is made by the real commands in a folder of a neutral name, so that no path of a machine gets into a file.
"""

import inspect
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))


import numpy as np
import yaml
from jsonargparse._util import get_import_path

from data_modules.storage.files import Files
from data_modules.transforms.mixing import Mixing
from data_modules.video.encode import write_video
from lightning_petl.__main__ import main
from lightning_petl.backbones import VideoViT
from lightning_petl.cli import lightning as lightning  # with all callbacks
from lightning_petl.cli import names
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.optim.schedule import Schedule
from lightning_petl.strategies.ddp import TrainableDDP
from lightning_petl.strategies.fsdp import FSDP2
from lightning_petl.tasks.bank.member import Member
from lightning_petl.tasks.retrieval.joint_space import JointSpace
from tests.formats import measure

HERE = Path(__file__).parent
PACKAGES = ("lightning_petl.", "data_modules.")
# What a configuration may name besides the classes of ``names``, whose key decides what it is.
OTHERS = {
    "optim": OptimizerConfig,
    "schedule": Schedule,
    "mixing": Mixing,
    "backbone": VideoViT,
    "files": Files,
    "joint": JointSpace,
    "members": Member,
    "replicated": TrainableDDP,
    "sharded": FSDP2,
}

LORA = {"class_path": "LoRA", "init_args": {"rank": 2}}
BIASES = {
    "class_path": "BitFit",
    "init_args": {"targets": ["norm2"], "outside": False},
}
STADAPTER = {
    "class_path": "STAdapter",
    "init_args": {"bottleneck": 2, "kernel": [3, 1, 1], "sites": ["attn"]},
}
PROMPTS = {"class_path": "VPT", "init_args": {"num_prompts": 1}}
SMALL = {"bottleneck": 4}
# Stacks of which the trained weights are kept.
STACKS: dict[str, list[Any]] = {
    "stack": [STADAPTER, PROMPTS, LORA | {"init_args": {"rank": 2, "dora": True}}],
    "AIM": [{"class_path": "AIM", "init_args": SMALL}],
    "AdaptFormer": [{"class_path": "AdaptFormer", "init_args": SMALL}],
    "BitFit": [BIASES],
    "LNTuning": ["LNTuning"],
    "LinearProbe": ["LinearProbe"],
    "LoRA": [LORA],
    "LvAdapter": [{"class_path": "LvAdapter", "init_args": SMALL}],
    "MAdapter": [{"class_path": "MAdapter", "init_args": {"width": 4}}],
    "MultiTuneV": [
        {
            "class_path": "MultiTuneV",
            "init_args": {
                "st_adapter": STADAPTER,
                "vpt": PROMPTS,
                "lora": LORA,
                "adapt_former": {"class_path": "AdaptFormer", "init_args": SMALL},
                "blocks": [1],
            },
        }
    ],
    "STAdapter": [STADAPTER],
    "VPT": [PROMPTS],
}
# Stacks of which the configuration alone is kept: their weights are too large for a repository.
LARGE: dict[str, list[Any]] = {
    "AttentiveProbe": [
        {"class_path": "AttentiveProbe", "init_args": {"blocks": 1}}
    ],
    "FullFineTuning": ["FullFineTuning"],
    "Partial": ["Partial"],
    "Side4Video": [{"class_path": "Side4Video", "init_args": {"width": 64}}],
}
MEMBERS = {
    "class_path": "Bank",
    "init_args": {
        "members": {
            "linear": {"optim": {"lr": 0.01}, "head": {"dropout": 0.0}},
            "reader": {
                "adapters": STACKS["MAdapter"],
                "optim": {"lr": 0.01},
                "head": {"dropout": 0.0},
            },
        },
        "grid": {"optim.weight_decay": [0.1]},
    },
}


def write(folder: Path) -> None:
    """Fill the current folder, and move what is kept of it to ``folder``."""
    write_videos(Path("videos"))
    write_videos(Path("damaged"))
    cut = Path("damaged/val/left/0.mp4")
    cut.write_bytes(cut.read_bytes()[:400])
    measure.complete(Path())
    paths = {key: dotted(base) for key, base in (names.BASES | OTHERS).items()}
    write_json("class_paths.json", paths)
    on_data("index", "damaged", 1)
    on_data("index", "videos", 0)
    on_data("ingest", "videos", 0, "--output=ingested/files")
    on_data("ingest", "videos", 0, "--output=ingested/shards", "--tar=true")
    fit("stack", model(STACKS["stack"]), "--trainer.callbacks+=EMA")
    fit("bank", with_trunk(MEMBERS))
    fit("batch_norm", model(["LinearProbe"], batch_norm=True))
    for name, stack in (STACKS | LARGE).items():
        write_artifact(name, stack)
    shutil.copytree("trained/batch_norm/artifact_last", "artifacts/batch_norm")
    shutil.rmtree("trained/batch_norm")
    build_cache()
    fit("cached", model(STACKS["MAdapter"]), "--data.cache=cache")
    tidy()
    keep(folder)
    (folder / "numbers.json").write_text(record(folder))


def keep(folder: Path) -> None:
    """Copy what is kept."""
    for name in ("artifacts", "cache", "damaged", "ingested", "trained", "videos"):
        shutil.copytree(name, folder / name)
    for name in ("class_paths.json", "cache.yaml", "data.yaml"):
        shutil.copy(name, folder / name)


def record(folder: Path) -> str:
    """Measure each part in a copy of its own, because a training changes its folder."""
    numbers = dict[str, Any]()
    for name, part in measure.parts(folder).items():
        with tempfile.TemporaryDirectory(prefix="golden") as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            os.chdir(copy)
            measure.complete(Path())
            numbers[name] = part()
    return json.dumps(numbers, indent=1) + "\n"


def write_videos(root: Path) -> None:
    """Write ``root/{train,val}/{left,right}/<n>.mp4``: eight frames, a bright bar that moves over a ramp."""
    ramp = np.broadcast_to(np.arange(48)[:, None, None], (48, 48, 3))
    for number, split in enumerate(("train", "train", "val")):
        for label, step in (("left", -3), ("right", 3)):
            frames = np.stack([ramp] * 8).astype(np.uint8)
            for time, frame in enumerate(frames):
                start = 20 + 2 * number + step * (time - 4)
                frame[:, start : start + 6] = 200 + 20 * number
            path = root / split / label / f"{number % 2}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, frames, 8)


def dotted(base: type) -> list[str]:
    """Return the paths of all classes of these packages that stand for ``base`` in a configuration.

    A class of a package's ``__init__`` has two: the one that artifacts hold, and the shorter one of ``config.yaml``.
    """
    found = {cls for cls in (base, *subclasses(base)) if shown(cls)}
    paths = {f"{cls.__module__}.{cls.__qualname__}" for cls in found}
    paths |= {get_import_path(cls) for cls in found}
    return sorted(path for path in paths if path.startswith(PACKAGES))


def subclasses(base: type) -> Iterator[type]:
    for cls in base.__subclasses__():
        yield cls
        yield from subclasses(cls)


def shown(cls: type) -> bool:
    return not inspect.isabstract(cls) and "<locals>" not in cls.__qualname__


def data(root: str) -> dict[str, Any]:
    sampling = {"class_path": "SegmentSampling", "init_args": {"num_frames": 4}}
    options = {"root": root, "image_size": 32, "batch_size": 2, "num_workers": 0}
    return {
        "class_path": "VideoFolder",
        "init_args": options | {"sampling": sampling},
    }


def model(adapters: list[Any], *, batch_norm: bool = False) -> dict[str, Any]:
    """Return a classifier that draws nothing while it trains: dropout's bits may differ between CPUs."""
    head = {"dropout": 0.0, "batch_norm": batch_norm}
    options = {"adapters": adapters, "optim": {"lr": 0.01}, "head": head}
    return with_trunk({"class_path": "VideoClassifier", "init_args": options})


def with_trunk(task: dict[str, Any]) -> dict[str, Any]:
    trunk = {"name": measure.TRUNK, "weights": measure.TRUNK_FILE, "depth": 2}
    return task | {"init_args": {"backbone": trunk, **task["init_args"]}}


def config(root: str, task: dict[str, Any] | None = None) -> str:
    """Write a configuration; return the name of its file."""
    content = {"data": data(root)} | ({"model": task} if task else {})
    path = Path("cache.yaml" if task else "data.yaml")
    path.write_text(yaml.safe_dump(content))
    return str(path)


def on_data(command: str, root: str, code: int, *flags: str) -> None:
    run(code, "data", command, "--config", config(root), "--workers=1", *flags)


def fit(name: str, task: dict[str, Any], *flags: str) -> None:
    """Train two epochs, with a line of events an update."""
    places = ["--config", config("videos", task), f"--run_folder=trained/{name}"]
    trainer = {
        "accelerator": "cpu",
        "enable_progress_bar": "false",
        "enable_model_summary": "false",
        "max_epochs": "2",
        "log_every_n_steps": "1",
    }
    given = [f"--trainer.{key}={value}" for key, value in trainer.items()]
    run(0, "fit", *places, *given, "--seed_everything=1", *flags)


def build_cache() -> None:
    task = model(STACKS["MAdapter"])
    given = ["--config", config("videos", task), "--trainer.accelerator=cpu"]
    kept = ["--output=cache", "--dtype=bf16", "--shard_size=3", "--augmentations=2"]
    run(0, "cache", "build", *given, *kept, "--seed_everything=1")


def write_artifact(name: str, stack: list[Any]) -> None:
    fit(f"of_{name}", model(stack), "--trainer.max_epochs=1")
    shutil.copytree(f"trained/of_{name}/artifact_last", f"artifacts/{name}")
    shutil.rmtree(f"trained/of_{name}")
    if name in LARGE:
        for file in Path("artifacts", name).iterdir():
            if file.suffix != ".json" or file.stem != "adapter_config":
                file.unlink()


def tidy() -> None:
    """Take this machine's name out of the names of event files; remove locks and what ``artifacts`` has too."""
    for folder in [*Path("trained").rglob("artifact*")]:
        shutil.rmtree(folder)
    for number, file in enumerate(
        sorted(Path("trained").rglob("events.out.tfevents.*"))
    ):
        seconds = file.name.split(".")[3]
        file.rename(
            file.with_name(f"events.out.tfevents.{seconds}.host.1.{number}")
        )
    for file in Path("trained").rglob(".run.lock"):
        file.unlink()
    for name in ("bank", "cached"):  # tested on their last checkpoint alone
        for file in Path("trained", name, "checkpoints").glob("epoch=*"):
            file.unlink()


def run(code: int, *words: str) -> None:
    assert main(list(words)) == code, words


def write_json(path: str | Path, value: Any) -> None:
    Path(path).write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    target = HERE / sys.argv[1]
    target.mkdir()
    with tempfile.TemporaryDirectory(prefix="golden") as temporary:
        os.chdir(temporary)
        write(target)
