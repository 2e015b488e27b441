"""Every format that a release has published loads for ever, and gives the numbers that the release got of it.

The files were written by ``write.py`` with the code of the release in the folder's name. Where a test here fails, the
code is wrong, not the file: the same files are on the disks of users.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lightning_petl.__main__ import main
from lightning_petl.artifacts.published_names import current_name, current_options
from lightning_petl.cli import lightning  # noqa: F401  # imports all that can be named
from lightning_petl.cli.known import class_names
from lightning_petl.cli.names import BASES
from tests.formats import measure

HERE = Path(__file__).parent
NEVER_NAMED = (
    ".Task",
    ".ConfigFile",
)  # abstract, and only ever made by the program
RELEASES = sorted(
    path for path in HERE.iterdir() if (path / "numbers.json").is_file()
)
PARTS = [(folder, name) for folder in RELEASES for name in measure.parts(folder)]
CONFIGS = [
    path.relative_to(HERE)
    for folder in RELEASES
    for path in sorted(folder.rglob("adapter_config.json"))
]
COMMANDS = {
    "data/index": ("videos", ["--config=data.yaml"]),
    "data/ingest files": (
        "ingested",
        ["--config=data.yaml", "--output=ingested/files"],
    ),
    "data/ingest shards": (
        "ingested",
        ["--config=data.yaml", "--output=ingested/shards", "--tar=true"],
    ),
    "cache/build": (
        "cache",
        [
            "--config=cache.yaml",
            "--output=cache",
            "--dtype=bf16",
            "--shard_size=3",
            "--augmentations=2",
            "--seed_everything=1",
            "--trainer.accelerator=cpu",
        ],
    ),
}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a copy of the files of a release the current folder."""

    def copy(release: Path) -> Path:
        shutil.copytree(release, tmp_path, dirs_exist_ok=True)
        measure.complete(tmp_path)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return copy


def near(expected: Any) -> Any:
    """Allow for the order in which another CPU adds.

    With SSE4 kernels in the place of AVX-512, logits differed by 1e-6, and losses after a resume not at all.
    """
    if isinstance(expected, dict):
        return {key: near(value) for key, value in expected.items()}
    if isinstance(expected, list):
        return [near(value) for value in expected]
    if isinstance(expected, float):
        return pytest.approx(expected, rel=1e-5, abs=1e-6)
    return expected


@pytest.mark.parametrize(
    ("release", "part"), PARTS, ids=[f"{path.name}-{part}" for path, part in PARTS]
)
def test_the_numbers_are_those_of_the_release(
    release: Path, part: str, copied: Any
) -> None:
    expected = json.loads((release / "numbers.json").read_text("utf-8"))
    assert set(expected) == set(measure.parts(release))
    copied(release)
    assert measure.parts(release)[part]() == near(expected[part])


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_methods_of_an_artifact_are_those_that_wrote_it(config: Path) -> None:
    """Class and values are the published ones, whatever the dotted paths are today."""
    entries = json.loads((HERE / config).read_text("utf-8"))["adapters"]
    for entry, recipe in zip(entries, measure.decoded(HERE / config), strict=True):
        assert type(recipe).__name__ == entry["class_path"].rpartition(".")[2]
        values = json.loads(
            json.dumps(vars(recipe), default=lambda inner: vars(inner))
        )
        given = current_options(type(recipe).__name__, entry["init_args"])
        assert values == {key: plain(value) for key, value in given.items()}


def plain(value: Any) -> Any:
    """Return the values of a nested method without its class."""
    nested = isinstance(value, dict) and "class_path" in value
    return value["init_args"] if nested else value


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
@pytest.mark.parametrize("run", ["bank", "stack"])
def test_the_configuration_of_a_run_is_still_one(
    release: Path, run: str, copied: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(release)
    assert main(["check", "--config", f"trained/{run}/config.yaml"]) == 0
    assert "max_epochs: 2" in capsys.readouterr().out


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_has_made_is_accepted_as_it_is(
    release: Path, command: str, copied: Any
) -> None:
    folder = copied(release)
    made, flags = COMMANDS[command]
    before = contents(folder / made)
    words = command.partition(" ")[0].split("/")
    assert main([*words, *flags]) == 0
    assert contents(folder / made) == before


def contents(folder: Path) -> dict[str, Any]:
    """Return the bytes of every file, and of those that are large the time: they are not written again."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    large = (".mp4", ".tar", ".safetensors")
    return {
        path.relative_to(folder).as_posix(): (
            path.read_bytes(),
            path.stat().st_mtime_ns if path.suffix in large else None,
        )
        for path in files
    }


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_every_class_that_a_configuration_could_name_is_still_found(
    release: Path,
) -> None:
    paths = json.loads((release / "class_paths.json").read_text("utf-8"))
    for key in BASES.keys() & paths.keys():
        kinds = [path for path in paths[key] if not path.endswith(NEVER_NAMED)]
        assert {current_name(path) for path in kinds} <= set(class_names(key)), key
