"""The wheel and the source distribution: what they hold, and that they work away from the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow  # builds, and programs of their own
ROOT = Path(__file__).parents[2]
ANYWHERE = shutil.ignore_patterns(".*_cache", "*.egg-info", "__pycache__")
AT_THE_TOP = (".git", ".venv", ".hypothesis", ".coverage", "runs", "build", "dist")
SMALL = [
    "--model.backbone.weights=random", "--model.backbone.depth=1", "--model.optim.global_batch=2",
    "--model.optim.schedule.warmup=0", "--data.image_size=32", "--data.batch_size=2", "--data.num_workers=0",
    "--data.num_train=6", "--data.num_test=6", "--trainer.max_steps=1", "--trainer.limit_val_batches=1",
]  # fmt: skip


class Built(NamedTuple):
    """The distributions of one tree.

    Attributes:
        files: those of the tree, relative to it.
        wheel: built from the tree.
        source: the source distribution.
        wheel_of_source: the wheel built from it.
    """

    files: set[str]
    wheel: Path
    source: Path
    wheel_of_source: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=_not_source)
    files = {
        str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()
    }
    build = [sys.executable, "-m", "build", "--no-isolation", str(tree), "--outdir"]
    # without an option: the source distribution, and from it a wheel
    for more in ([str(folder / "of_source")], [str(folder / "of_tree"), "--wheel"]):
        done = subprocess.run([*build, *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = (folder / "of_tree").glob("*.whl")
    (of_source,) = (folder / "of_source").glob("*.whl")
    (source,) = (folder / "of_source").glob("*.tar.gz")
    return Built(files, wheel, source, of_source)


def _not_source(folder: str, names: list[str]) -> set[str]:
    """Return what of a folder is no source, for ``shutil.copytree``."""
    unwanted = set(ANYWHERE(folder, names))
    if Path(folder) == ROOT:
        unwanted |= {name for name in names if name.startswith(AT_THE_TOP)}
    return unwanted


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_source_distribution_builds_the_same_wheel(built: Built) -> None:
    assert contents(built.wheel_of_source) == contents(built.wheel)


def test_the_wheel_holds_the_packages_and_the_configurations(built: Built) -> None:
    expected = set[str]()
    for package in ("lightning_petl", "data_modules"):
        expected.add(f"{package}/py.typed")
        for kind in ("*.py", "*.md"):
            files = (ROOT / package).rglob(kind)
            expected |= {str(path.relative_to(ROOT)) for path in files}
    configs = (ROOT / "configs").glob("**/*.yaml")
    expected |= {f"lightning_petl/{path.relative_to(ROOT)}" for path in configs}
    recipes = (ROOT / "experiments").glob("*/*.yaml")
    expected |= {f"lightning_petl/{path.relative_to(ROOT)}" for path in recipes}
    inside = {name for name in contents(built.wheel) if ".dist-info/" not in name}
    assert inside == expected


def test_the_source_distribution_holds_the_whole_tree(built: Built) -> None:
    with tarfile.open(built.source) as archive:
        names = {
            member.name.partition("/")[2] for member in archive if member.isfile()
        }
    assert built.files <= names


def test_tests_of_the_source_distribution_run(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.source) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    pytest_of = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    some = [
        "tests/packaging/test_metadata.py",
        "tests/cli/test_shipped_configs.py",
        "tests/laws/test_counts.py",
    ]
    done = subprocess.run(
        [*pytest_of, *some], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel; its dependencies are those of this one, which come behind it."""
    folder = tmp_path_factory.mktemp("environment")
    run = [sys.executable, "-m"]
    subprocess.run([*run, "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = ["pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]  # fmt: skip
    subprocess.run([*run, *install, str(built.wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    behind = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "behind.pth").write_text("\n".join(behind))
    return folder


def called(
    environment: Path, *argv: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    variables = {
        key: value for key, value in os.environ.items() if "PYTHON" not in key
    }
    return subprocess.run(
        [str(environment / "bin" / argv[0]), *argv[1:]],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
    )


def test_trains_by_names_away_from_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    where = "import lightning_petl, data_modules as d; print(lightning_petl.__file__, d.__file__)"
    found = called(installed, "python", "-c", where, folder=tmp_path).stdout.split()
    assert len(found) == 2
    assert all(path.startswith(str(installed)) for path in found)
    names = ["adapters/lora", "trainer/cpu", "backbone/vit_b16", "data/motion"]
    files = [word for name in names for word in ("-c", name)]
    done = called(
        installed, "lightning-petl", "fit", *files, *SMALL, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # what a configuration names by a relative path lies where the command is given
    assert list((tmp_path / "data/torus_motion").glob("**/*.mp4"))
    assert (tmp_path / "runs/default/version_0/config.yaml").is_file()


def test_configurations_come_from_the_wheel(
    installed: Path, tmp_path: Path
) -> None:
    listed = called(installed, "lightning-petl", "configs", "list", folder=tmp_path)
    count = len(list((ROOT / "configs").glob("**/*.yaml")))
    assert len(listed.stdout.splitlines()) == count
    copied = called(
        installed, "lightning-petl", "configs", "copy", "slurm/gpu", folder=tmp_path
    )
    assert copied.returncode == 0, copied.stderr
    original = (ROOT / "configs/slurm/gpu.yaml").read_bytes()
    assert (tmp_path / "gpu.yaml").read_bytes() == original


def test_recipes_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    recipe = ["-c", "st_adapter/k400_clip_b16", "--trainer.precision=32-true"]
    read = called(installed, "lightning-petl", "check", *recipe, folder=tmp_path)
    assert "class_path: STAdapter" in read.stdout, read.stderr
    counted = called(
        installed,
        *("lightning-petl", "recipes", "--paper", "st_adapter"),
        folder=tmp_path,
    )
    assert counted.returncode == 0, counted.stderr
    assert "7,417,744" in counted.stdout


def test_a_wheel_without_its_configurations_is_told(
    installed: Path, tmp_path: Path
) -> None:
    (folder,) = installed.glob("lib/python*/site-packages/lightning_petl/configs")
    shutil.move(folder, tmp_path / "gone")
    try:
        done = called(
            installed,
            "lightning-petl",
            "fit",
            "-c",
            "adapters/lora",
            folder=tmp_path,
        )
    finally:
        shutil.move(tmp_path / "gone", folder)
    assert done.returncode == 2
    assert "has lost its configurations" in done.stderr
    assert done.stderr.count("\n") == 1
