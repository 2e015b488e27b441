"""What is written for the parser to read, it reads as the same text; what a user means to be replaced is replaced."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from lightning_petl.cli import config_text
from tests.data_modules.io.test_names import LAW, NASTY, names


@dataclass
class Inner:
    path: str | None = None
    labels: list[str] = field(default_factory=list)


class Base:
    """A class of which a configuration names one by its path, as data and model are."""

    def __init__(
        self,
        inner: Inner | None = None,
        labels: list[str] | None = None,
        other: str = "",
    ) -> None:
        self.inner, self.labels, self.other = inner, labels, other


def parsers() -> tuple[ArgumentParser, ArgumentParser]:
    """One with a command, as the real one, whose values are read more than once; and that of the command."""
    config_text.prepare()
    command = ArgumentParser(parser_mode=config_text.MODE, exit_on_error=False)
    command.add_argument("-c", "--config", action="config")
    command.add_subclass_arguments(Base, "data")
    command.add_argument("--place", type=str | None, default=None)
    whole = ArgumentParser(parser_mode=config_text.MODE, exit_on_error=False)
    whole.add_subcommands().add_subcommand("fit", command)
    return whole, command


def written(labels: list[str], path: str) -> dict[str, Any]:
    arguments = {"labels": labels, "inner": {"path": path, "labels": labels}}
    return {
        "data": {"class_path": f"{__name__}.Base", "init_args": arguments},
        "place": path,
    }


@settings(LAW, max_examples=20)
@given(st.lists(names(), max_size=3), names())
@example(NASTY, "\\\\${a}\\${b}${c}\\")
def test_names_come_back_from_the_parser(labels: list[str], path: str) -> None:
    whole, command = parsers()
    config = config_text.parse(
        whole, ["fit", "-c", config_text.as_yaml(written(labels, path))]
    ).fit
    arguments = config.data.init_args
    assert (arguments.labels, arguments.inner.labels, arguments.inner.path) == (
        labels,
        labels,
        path,
    )
    assert config.place == path
    again = config_text.parse(
        whole, ["fit", "-c", config_text.dumped(command, config)]
    ).fit
    assert again.data == config.data
    assert again.place == path


@LAW
@given(st.lists(names(), max_size=3))
def test_other_readers_of_yaml_read_the_same_but_for_the_escapes(
    labels: list[str],
) -> None:
    text = config_text.as_yaml(labels)
    assert text.encode("utf-8")
    assert config_text.read(text) == labels
    if not any("${" in label for label in labels):
        assert yaml.safe_load(text) == labels


def test_what_a_user_means_is_replaced_and_an_escape_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLACE", "/data")
    arguments = (
        "{other: '${place}', labels: ['\\${place}', 1e5x, \"\\x85\", '1e5']}"
    )
    text = f"place: ${{oc.env:PLACE}}/x\ndata: {{class_path: {__name__}.Base, init_args: {arguments}}}"
    config = config_text.parse(parsers()[0], ["fit", "-c", text]).fit
    assert (config.place, config.data.init_args.other) == ("/data/x", "/data/x")
    assert config.data.init_args.labels == ["${place}", "1e5x", "\x85", "1e5"]


@pytest.mark.parametrize(
    "name",
    [
        "caf\udce9 [x].mp4",
        "-x.mp4",
        "a: b",
        "#c",
        "[1]",
        "{a: b}",
        "!x",
        "100%",
        "'q'",
        "\\d",
    ],
)
def test_a_path_as_a_flag(name: str) -> None:
    assert (
        config_text.parse(parsers()[0], ["fit", f"--place={name}"]).fit.place
        == name
    )


def test_a_flag_with_an_escape() -> None:
    assert (
        config_text.parse(parsers()[0], ["fit", r"--place=a\${b}"]).fit.place
        == "a${b}"
    )
