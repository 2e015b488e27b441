"""Prepare a data set before training (``data index`` and ``data ingest``)."""

import argparse
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from data_modules.commands.index import index
from data_modules.commands.ingest import ingest
from data_modules.loading.data_module import VideoDataModule
from lightning_petl.cli import config_files, config_text
from lightning_petl.cli import (
    names as names,
)  # makes all classes known by their names

# Called with the data module and the command's own options, which are the function's arguments and their docstring.
COMMANDS: dict[str, Callable[..., int]] = {
    "index": index,
    "ingest": ingest,
}


def run(argv: list[str]) -> int:
    """Run ``data index`` or ``data ingest``."""
    command = argv[1]
    options = argv[2:]
    with config_files.checked(argv):
        config_text.prepare()
        parser = _parser(command, options)
        config = config_text.parse(parser, options)
        own = inspect.signature(COMMANDS[command]).parameters
        # Keys of other commands, which were only read so that the parser takes the file.
        for key in vars(config).keys() - own.keys():
            del config[key]
        arguments = vars(parser.instantiate(config))
        arguments["data"].prepare_data()
        return COMMANDS[command](**arguments)


def _parser(command: str, argv: list[str]) -> ArgumentParser:
    function = COMMANDS[command]
    parser = ArgumentParser(
        prog=f"lightning-petl data {command}",
        description=_first_line(function),
        parser_mode="omegaconf+",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-c",
        "--config",
        action="config",
        help="A YAML file with the key data; may be repeated.",
    )
    parser.add_function_arguments(function, as_group=False, skip={"data"})
    parser.add_subclass_arguments(
        VideoDataModule, "data", required=True, fail_untyped=False
    )
    own = {"data", *inspect.signature(function).parameters}
    for key in sorted(_keys(argv) - own):
        # Hidden, as the command has no such option.
        parser.add_argument(f"--{key}", type=Any, help=argparse.SUPPRESS)
    return parser


def _keys(argv: list[str]) -> set[str]:
    """Return the keys of the configuration files.

    A run's config.yaml also has the keys ``model`` and ``trainer``, which these commands accept and ignore.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("-c", "--config", action="append", default=[])
    keys = set[str]()
    for name in finder.parse_known_args(argv)[0].config:
        file = Path(name)
        if not file.is_file():
            continue
        with suppress(yaml.YAMLError):  # told by the parser proper
            keys.update(yaml.safe_load(file.read_text("utf-8")) or {})
    return keys


def _first_line(function: Callable[..., int]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]
