"""``lightning-petl data <command>``: what is done to a data set before training."""

import inspect
from argparse import SUPPRESS
from collections.abc import Callable
from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings

from data_modules.base import VideoDataModule
from data_modules.index import index

# Called with the data module and the command's own options, which are the function's arguments and their docstring.
COMMANDS: dict[str, Callable[..., int]] = {
    "index": index,
}

# The other keys of a run's config.yaml: it can be given as it is, and only its data is read.
_OF_A_RUN = (
    "seed_everything", "trainer", "model", "name", "artefact", "checkpoint", "optimizer", "lr_scheduler",
    "ckpt_path", "weights_only", "return_predictions", "verbose",
)  # fmt: skip


def run(argv: list[str]) -> int:
    """Run ``data <command>``, without these first words, and return its exit code.

    Raises:
        ValueError: there is no such command.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    if argv[0] not in COMMANDS:
        raise ValueError(f"data: no command {argv[0]!r}; there are: {', '.join(COMMANDS)}")
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    parser = _parser(argv[0])
    options = parser.instantiate(parser.parse_args(argv[1:]))
    names = set(inspect.signature(COMMANDS[argv[0]]).parameters)
    return COMMANDS[argv[0]](**{name: value for name, value in options.as_dict().items() if name in names})


def _parser(command: str) -> ArgumentParser:
    function = COMMANDS[command]
    parser = ArgumentParser(
        prog=f"lightning-petl data {command}",
        description=_first_line(function),
        parser_mode="omegaconf+",
        exit_on_error=False,
    )
    parser.add_argument("-c", "--config", action="config", help="A YAML file with the key data; may be repeated.")
    parser.add_function_arguments(function, as_group=False, skip={"data"})
    parser.add_subclass_arguments(VideoDataModule, "data", required=True, fail_untyped=False)
    for key in _OF_A_RUN:
        parser.add_argument(f"--{key}", type=Any, help=SUPPRESS)
    return parser


def _help() -> str:
    commands = "\n".join(f"  {name:10}{_first_line(function)}" for name, function in COMMANDS.items())
    return (
        "usage: lightning-petl data <command> [--config FILE.yaml ...] [--data.init_args.KEY=value ...]\n\n"
        f"commands:\n{commands}\n\n"
        "lightning-petl data <command> --help lists its options."
    )


def _first_line(function: Callable[..., int]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]
