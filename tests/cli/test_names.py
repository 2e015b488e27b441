"""Short names in YAML and in published files."""

import re
from collections import Counter
from dataclasses import fields

import pytest

from lightning_petl.__main__ import main
from lightning_petl.artifacts.published_names import (
    MOVED,
    MOVED_OPTIONS,
    RENAMED,
    current_name,
    short_name,
)
from lightning_petl.cli import config_text
from lightning_petl.cli.names import BASES, NAMES
from lightning_petl.cli.shipped_configs import FOLDER
from tests.commands import Command

EVERY = [kind for kinds in NAMES.values() for kind in kinds]


def test_every_name_is_that_of_one_class() -> None:
    assert not [
        n for n, count in Counter(k.__name__ for k in EVERY).items() if count > 1
    ]


@pytest.mark.parametrize("key", NAMES)
def test_every_class_is_what_its_key_asks_for(key: str) -> None:
    assert all(issubclass(kind, BASES[key]) for kind in NAMES[key])


def test_moved_names_are_dotted_and_lead_to_short_ones() -> None:
    for old, new in MOVED.items():
        assert "." in old
        assert "." not in new
        assert current_name(old) == new


def test_moved_options_are_read_under_their_names_of_now() -> None:
    text = """
    model:
      adapters:
      - class_path: lightning_petl.adapters.side4video.Side4Video
        init_args: {width: 64, lean: false}
      - class_path: LoRA
        init_args: {lean: false}
    """
    side, lora = config_text.read(text)["model"]["adapters"]
    assert side["init_args"] == {"width": 64, "save_memory": False}
    assert lora["init_args"] == {"lean": False}
    for name, options in MOVED_OPTIONS.items():
        kind = next(kind for kind in EVERY if kind.__name__ == name)
        assert set(options.values()) <= {field.name for field in fields(kind)}


def test_renamed_classes_are_found_by_names_that_no_class_has_any_more() -> None:
    names = {kind.__name__ for kind in EVERY}
    assert not RENAMED.keys() & names
    for old, new in RENAMED.items():
        assert new in names
        assert current_name(old) == new


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lightning_petl.adapters.lora.LoRA", "LoRA"),
        ("data_modules.sets.video.video_folder.VideoFolder", "VideoFolder"),
        ("my_package.GateAdapter", "my_package.GateAdapter"),
        ("lightning_petl_extra.GateAdapter", "lightning_petl_extra.GateAdapter"),
        ("EMA", "EMA"),
    ],
)
def test_only_classes_of_ours_are_published_by_their_short_name(
    path: str, name: str
) -> None:
    assert short_name(path) == name


def test_a_configuration_is_written_with_short_names(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *command("fit")[1:]]) == 0
    text = capsys.readouterr().out
    assert "class_path: VideoClassifier\n" in text
    assert "class_path: LoRA\n" in text
    assert not re.search(r"class_path: (lightning_petl|data_modules)", text)


def test_shipped_configurations_name_classes_shortly() -> None:
    for file in FOLDER.rglob("*.yaml"):
        for line in file.read_text("utf-8").splitlines():
            _, found, path = line.partition("class_path: ")
            assert not found or "." not in path, file
