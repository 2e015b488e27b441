"""Every command and every program in the documents does what it says, on small data and a small trunk."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_modules.loading.data_module import VideoDataModule
from data_modules.sampling.schemes import Sampling
from data_modules.sets.rendered.motion import render
from data_modules.transforms.augment import Augmentation
from data_modules.transforms.crops import Transform
from lightning_petl.__main__ import main
from lightning_petl.adapters import attach
from lightning_petl.cli import doctor as doctor
from lightning_petl.cli import known
from lightning_petl.cli.commands import COMMANDS
from lightning_petl.cli.shipped_configs import with_paths
from tests import caption_layouts, layouts
from tests.commands import write_videos
from tests.layouts import TINY
from tests.pairs import announce
from tests.rendering import in_this_process
from tests.tiny import tiny_vit

ROOT = Path(__file__).parents[1]
BESIDE_CODE, PAGES = (
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    sorted(ROOT.glob("docs/**/*.md")),
)
DOCUMENTS = [*BESIDE_CODE, *PAGES]
SMALL = [
    "--model.init_args.backbone.init_args.weights=random", "--model.init_args.backbone.init_args.depth=2",
    "--data.init_args.batch_size=2", "--data.init_args.num_workers=0",
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.accelerator=cpu", "--trainer.devices=1",
    "--trainer.num_nodes=1", "--trainer.precision=32-true", "--trainer.strategy=auto",
    "--trainer.enable_progress_bar=false", "--model.init_args.optim.global_batch=2",
    "--model.init_args.optim.schedule.warmup=0",
]  # fmt: skip


# of commands that train nothing
SHORT_FORMS = {"doctor": ["--quick"], "summary": ["--model.backbone.depth=2"]}


def fences(language: str, documents: Sequence[Path] = DOCUMENTS) -> list[str]:
    """The code blocks of one language in some documents."""
    text = "\n".join(path.read_text("utf-8") for path in documents)
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(
    program: str, documents: Sequence[Path] = DOCUMENTS
) -> list[list[str]]:
    """The calls of one program, line continuations joined, as argument lists."""
    lines = "\n".join(fences("bash", documents)).replace("\\\n", " ").splitlines()
    return [
        shlex.split(line, comments=True)[1:]
        for line in lines
        if line.startswith(f"{program} ")
    ]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the README assumes it: configs, the user's videos, Something-Something, a clip."""
    with in_this_process():
        root = render(tmp_path / "data" / "ssv2", num_train=6, num_test=6)
    (root / "videos").rename(root / "20bn-something-something-v2")
    videos = sorted((root / "20bn-something-something-v2").glob("*.mp4"))
    for split, its_videos in (("train", videos[:6]), ("val", videos[6:])):
        for number, video in enumerate(its_videos):
            (tmp_path / "my_videos" / split / f"class_{number % 2}").mkdir(
                parents=True, exist_ok=True
            )
            shutil.copy(
                video, tmp_path / "my_videos" / split / f"class_{number % 2}"
            )
    shutil.copy(videos[0], tmp_path / "clip.mp4")
    write_own_method(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_own_method(folder: Path) -> None:
    """Write the README's own method and its configuration, word for word."""
    program, _ = fences("python", [ROOT / "README.md"])
    (configuration,) = fences("yaml", [ROOT / "README.md"])
    (folder / "my_package.py").write_text(program)
    (folder / "gate.yaml").write_text(configuration)


def words(argv: list[str]) -> str:
    """A command as one text, with the paths of the configurations that it names."""
    return " ".join(with_paths(argv))


def small(argv: list[str]) -> list[str]:
    """What makes a command of the documents small; the members of a bank have optimisers of their own."""
    said = words(argv)
    size = f"--data.init_args.image_size={56 if 'dinov2' in said else 64}"
    toy = "--model.init_args.backbone.init_args.name=open_clip:toy-quickgelu"
    flags = [*SMALL, size, *([toy] if with_text(argv) else [])]
    return [
        flag for flag in flags if not ("configs/bank" in said and ".optim." in flag)
    ]


def made_small(argv: list[str]) -> bool:
    """Whether it would train, or ask for weights."""
    # a sweep for a cluster is only written, and trains nothing
    here = argv[0] == "sweep" and "--slurm" not in argv
    builds = argv[:2] == ["cache", "build"]
    return argv[0] == "fit" or builds or here or with_text(argv)


def laid_out(argv: list[str], folder: Path) -> list[str]:
    """Write small data sets where a command's configurations expect them; flags that tell of their size."""
    names = re.findall(r"configs/data/(\w+)\.yaml", words(argv))
    for name in names:
        root = (
            folder
            / yaml.safe_load((ROOT / f"configs/data/{name}.yaml").read_text())[
                "data"
            ]["init_args"]["root"]
        )
        if not root.exists():
            (
                caption_layouts if name in caption_layouts.LAYOUTS else layouts
            ).lay_out(name, root)
    return [flag for name in names for flag in TINY.get(name, [])]


def with_text(argv: list[str]) -> bool:
    """Whether it reads text, for which there is a toy pair of towers."""
    return "configs/retrieval" in words(argv) or "TextHead" in words(argv)


def test_the_commands_of_the_readme_in_order(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = commands("lightning-petl", BESIDE_CODE)
    assert len(calls) >= 5
    (workplace / "toys").mkdir()
    announce(workplace / "toys")
    for argv in calls:
        saved = any("runs/default" in argument for argument in argv)
        shown = "--print_config" in argv
        flags = SHORT_FORMS.get(argv[0], [])
        if made_small(argv) and not saved:
            flags = small(argv)
        flags += laid_out(argv, workplace) if with_text(argv) else []
        extra = ["--trainer.max_epochs=2"] if saved and argv[0] == "fit" else []
        assert (
            main(
                [*argv[:-1], *flags, argv[-1]] if shown else [*argv, *flags, *extra]
            )
            == 0
        ), argv
    assert (workplace / "runs/default/version_0/artifact").is_dir()
    assert "clip.mp4" in capsys.readouterr().out


@pytest.mark.slow  # two dozen runs
def test_the_commands_of_the_pages_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toys").mkdir()
    announce(tmp_path / "toys")
    write_videos(tmp_path / "my_videos")
    monkeypatch.chdir(tmp_path)
    for argv in commands("lightning-petl", PAGES):
        if argv[0] == "doctor":  # tests/slurm runs it on a cluster
            doctor._parser().parse_args(argv[1:])
            continue
        tiny = laid_out(argv, tmp_path)
        assert (
            main([*argv, *tiny, *(small(argv) if made_small(argv) else [])]) == 0
        ), argv


def test_the_page_on_data_names_every_choice() -> None:
    text = (ROOT / "docs/data.md").read_text("utf-8")
    for base in (VideoDataModule, Sampling, Transform, Augmentation):
        for cls in known.subclasses(base):
            assert f"`{cls.__name__}`" in text or not cls.__module__.startswith(
                "data_modules"
            )


def test_the_table_of_commands_is_that_of_the_program() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z]+(?: [a-z]+)?)` \| (.*) \|$", text, re.MULTILINE)
    assert dict(rows) == {name: row.does for name, row in COMMANDS.items()}


def test_the_lines_from_python_run() -> None:
    _, program = fences("python", [ROOT / "README.md"])
    names: dict[str, Any] = {}
    exec(program.replace("vit_base_patch16_224", "test_vit"), names)
    assert set(names["vit"].owners.values()) == {"STAdapter", "LoRA"}


def test_no_place_is_still_to_be_filled() -> None:
    for path in [*DOCUMENTS, *ROOT.glob("experiments/**/README.md")]:
        assert not re.search(
            r"^[A-Z_]{4,}$|TODO|to be written",
            path.read_text("utf-8"),
            flags=re.MULTILINE,
        ), path


def test_make_knows_its_targets() -> None:
    text = "\n".join(path.read_text("utf-8") for path in DOCUMENTS)
    targets = {argv[0] for argv in commands("make")} | set(
        re.findall(r"`make ([a-z-]+)`", text)
    )
    assert {"demo", "test", "check"} <= targets
    for target in targets:
        subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True
        )


def test_the_example_method_is_a_method() -> None:
    program, _ = fences("python", BESIDE_CODE)
    names: dict[str, type] = {}
    exec(compile(program, "README.md", "exec"), names)
    vit = tiny_vit()
    before = vit.dim
    attach(vit, [names["GateAdapter"]()])
    assert (
        sum(p.numel() for p in vit.parameters() if p.requires_grad)
        == before * vit.depth
    )


@pytest.mark.slow  # programs of their own
@pytest.mark.parametrize("devices", [1, 2])
def test_the_example_method_trains_from_a_folder_of_its_own(
    devices: int, tmp_path: Path
) -> None:
    """Through the installed program, which has not the current folder among those it imports from."""
    write_own_method(tmp_path)
    (tmp_path / "timm.py").write_text(
        "raise RuntimeError('this file came before the installed module')"
    )
    write_videos(tmp_path / "my_videos")
    (argv,) = [
        argv
        for argv in commands("lightning-petl", [ROOT / "README.md"])
        if "gate.yaml" in argv
    ]
    ranks = [
        f"--trainer.devices={devices}",
        f"--trainer.strategy={'ddp' if devices > 1 else 'auto'}",
    ]
    flags = [*small(argv), *ranks, f"--data.init_args.batch_size={2 // devices}"]
    program = Path(sys.executable).parent / "lightning-petl"
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }
    done = subprocess.run(
        [program, *argv, *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "GateAdapter" in done.stdout
    artifact = (
        tmp_path
        / "runs"
        / "gate"
        / "version_0"
        / "artifact"
        / "adapter_config.json"
    )
    (adapter,) = json.loads(artifact.read_text())["adapters"]
    assert adapter == {
        "class_path": "my_package.GateAdapter",
        "init_args": {"blocks": "last 2"},
    }


def test_local_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(
            r"\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8")
        ):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
