"""Every YAML file of the repository builds through the command line; of each kind one runs a step on a small trunk."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from data_modules.loading.data_module import VideoDataModule
from lightning_petl.__main__ import main
from lightning_petl.cli.summary import SummaryCLI
from tests import caption_layouts, layouts, retrieval_runs
from tests.layouts import TINY
from tests.pairs import announce

ROOT = Path(__file__).parents[2]
SITES = {*ROOT.glob("configs/slurm/*.yaml")}  # for submit, not for fit
RECIPES = set[Path]()  # and their sheets, which test_recipes.py reads
for sheet in ROOT.glob("experiments/*/recipes.yaml"):
    RECIPES |= set(sheet.parent.glob("*.yaml"))
STUDIES = {*ROOT.glob("experiments/**/study.yaml")}  # which test_study.py reads
FILES = sorted(
    {*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("experiments/**/*.yaml")}
    - SITES
    - RECIPES
    - STUDIES
)
THROUGH_THE_SCRIPT = "experiments/demo/demo.yaml"
# every adapter, and of the other folders one file of each kind
STEPPED = [
    *sorted(ROOT.glob("configs/adapters/*.yaml")),
    ROOT / "configs/backbone/open_clip_siglip_b16.yaml",
    ROOT / "configs/backbone/eva02_l14.yaml",
    ROOT / "configs/bank/linear_heads.yaml",
    ROOT / "configs/bank/readers.yaml",
    ROOT / "configs/data/ssv2.yaml",
    ROOT / "configs/data/msrvtt_1ka.yaml",
    ROOT / "configs/debug/overfit.yaml",
    ROOT / "configs/retrieval/side4video.yaml",
    ROOT / "configs/retrieval/zero_shot.yaml",
    ROOT / "configs/trainer/ema.yaml",
    ROOT / "experiments/demo_retrieval/retrieval.yaml",
    ROOT / "experiments/motion/protocol.yaml",
]
# what a file leaves open; later files on the command line win
BASE = {
    "model": {"backbone": {"name": "vit_tiny_patch16_224"}},
    "data": {
        "class_path": "SomethingSomething",
        "init_args": {
            "root": "data",
            "videos": "videos",
            "sampling": {"class_path": "SegmentSampling"},
        },
    },
}
CAPTIONS = {
    "class_path": "CaptionList",
    "init_args": {"root": "data", "sampling": {"class_path": "SegmentSampling"}},
}
SHORT = [
    "--model.init_args.optim.global_batch=2",
    "--model.init_args.optim.schedule.warmup=0",
]
TRAINS_NOTHING = {"configs/retrieval/zero_shot.yaml": ["--model.adapters=[BitFit]"]}
DEBUG_NEEDS_MORE_STEPS = {"configs/debug/overfit.yaml": "--trainer.max_epochs=1"}


def data_set(file: Path) -> str | None:
    """The data set that a file is about."""
    if file.parent == ROOT / "configs/data":
        return file.stem
    rendered = {"MotionCaptions": "motion_captions", "TorusMotion": "motion"}
    for name, layout in rendered.items():
        if name in file.read_text():
            return layout
    return None


def retrieves(file: Path) -> bool:
    """Whether it is about text-video retrieval."""
    return (
        "VideoTextRetrieval" in file.read_text()
        or data_set(file) in caption_layouts.LAYOUTS
    )


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory: pytest.TempPathFactory) -> None:
    """open_clip knows the toy models."""
    announce(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The root of a tiny data set for a file: in the layout that it reads, else the motion clips."""
    base = tmp_path_factory.mktemp("data")

    def root(file: Path) -> Path:
        name = data_set(file) or ("caption_list" if retrieves(file) else "motion")
        lay_out = (
            caption_layouts.lay_out
            if name in caption_layouts.LAYOUTS
            else layouts.lay_out
        )
        return base / name if (base / name).exists() else lay_out(name, base / name)

    return root


def arguments(file: Path, root: Path, folder: Path) -> list[str]:
    """One step of fit with ``file`` over the base."""
    name = str(file.relative_to(ROOT))
    base = {
        key: value
        for key, value in BASE.items()
        if key != "data" or not data_set(file)
    }
    if retrieves(file):
        base = (
            {"model": retrieval_runs.MODEL}
            if data_set(file)
            else {"data": CAPTIONS}
        )
    elif "adapters" not in file.read_text():
        base["model"] = {
            **BASE["model"],
            "adapters": [{"class_path": "LinearProbe"}],
        }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    few = 4 if "last 4" in file.read_text() else 2
    depth = (
        1 if file.stem == "eva02_e14" else few if retrieves(file) else 4
    )  # each of its blocks holds 68 M parameters
    toy = "--model.init_args.backbone.init_args.name=open_clip:toy-quickgelu"
    patch14 = "14" in file.stem or "patch14_dinov2" in file.read_text()
    return [
        "fit", "--config", str(folder / "base.yaml"), "--config", str(file),
        "--model.init_args.backbone.init_args.weights=random", f"--model.init_args.backbone.init_args.depth={depth}",
        *([] if "class_path: Bank" in file.read_text() else SHORT),
        *([toy] if "name: open_clip:" in file.read_text() and retrieves(file) else []),
        f"--data.init_args.root={root}", "--data.init_args.batch_size=2",
        "--data.init_args.num_workers=0", f"--data.init_args.image_size={56 if patch14 else 64}",
        "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.enable_progress_bar=false",
        f"--trainer.default_root_dir={folder}", "--checkpoint.monitor=null", "--trainer.limit_val_batches=1",
        DEBUG_NEEDS_MORE_STEPS.get(name, "--trainer.max_steps=1"),
        *TINY.get(data_set(file) or "", []), *TRAINS_NOTHING.get(name, []),
    ]  # fmt: skip


by_path = {"ids": lambda file: str(file.relative_to(ROOT))}


@pytest.mark.parametrize("file", FILES, **by_path)
def test_is_read_and_built(
    file: Path,
    data: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parse all of it, build the task on the meta device, and list the clips of the data set."""
    built = list[SummaryCLI]()
    monkeypatch.setattr(
        SummaryCLI, "_run_subcommand", lambda self, subcommand: built.append(self)
    )
    assert (
        main(
            [
                "summary",
                *arguments(file, data(file), tmp_path)[1:],
                "--num_classes=2",
                "--trainer.devices=1",
            ]
        )
        == 0
    )
    (summary,) = built
    assert summary._task.owners
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(VideoDataModule, "data")
    given = {"data": summary._get(summary.config, "data").as_dict()}
    loaded = parser.instantiate_classes(parser.parse_object(given))["data"]
    assert all(loaded.clips(split) for split in ("train", "val"))


@pytest.mark.parametrize("file", STEPPED, **by_path)
def test_runs_one_step(
    file: Path, data: Callable[[Path], Path], tmp_path: Path
) -> None:
    assert main(arguments(file, data(file), tmp_path)) == 0
    assert list(tmp_path.glob("version_0/checkpoints/last.ckpt"))


def test_every_folder_has_a_file_that_runs_a_step() -> None:
    stepped = {file.parent for file in [*STEPPED, ROOT / THROUGH_THE_SCRIPT]}
    assert {file.parent for file in FILES} == stepped


def test_runs_one_step_through_the_console_script(
    data: Callable[[Path], Path], tmp_path: Path
) -> None:
    script = Path(sys.executable).parent / "lightning-petl"
    file = ROOT / THROUGH_THE_SCRIPT
    done = subprocess.run(
        [str(script), *arguments(file, data(file), tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
