"""List, show or copy the configurations that the package ships (``configs``)."""

import shutil
from pathlib import Path

from lightning_petl.cli.parsers import CommandParser
from lightning_petl.cli.shipped_configs import FOLDER, SUFFIX, names, shipped_file

_WIDTH = 36  # of the first column of the list


def run(argv: list[str]) -> int:
    """Run ``configs list``, ``configs show NAME`` or ``configs copy NAME [TO]``."""
    given = _parser().parse_args(argv[1:])
    if given.what == "list":
        for name in names():
            print(f"{name:{_WIDTH}}{_first_comment(FOLDER / f'{name}{SUFFIX}')}")
    elif given.what == "show":
        print(shipped_file(given.show.name).read_text("utf-8"), end="")
    else:
        file = _copy(shipped_file(given.copy.name), Path(given.copy.to))
        print(f"written to {file}")
    return 0


def _parser() -> CommandParser:
    parser = CommandParser("configs")
    commands = parser.add_subcommands(dest="what", required=True)
    commands.add_subcommand(
        "list",
        CommandParser("configs list"),
        help="print the name of each and what it is",
    )
    show = CommandParser("configs show")
    show.add_argument("name", type=str, help="as adapters/lora")
    commands.add_subcommand("show", show, help="print one, as YAML")
    copy = CommandParser("configs copy")
    copy.add_argument("name", type=str, help="as adapters/lora")
    copy.add_argument(
        "to",
        type=str,
        nargs="?",
        default=".",
        help="a file that does not exist, or a folder",
    )
    commands.add_subcommand("copy", copy, help="copy one, to change it")
    return parser


def _first_comment(file: Path) -> str:
    """Return the first line of a configuration, which says what it is, without the ``#``."""
    with file.open(encoding="utf-8") as lines:
        return lines.readline().strip("# \n")


def _copy(file: Path, to: Path) -> Path:
    target = to / file.name if to.is_dir() else to
    if target.exists():
        raise ValueError(f"configs: {target} exists; give another file to copy to")
    if not target.parent.is_dir():
        raise ValueError(f"configs: there is no folder {target.parent} to copy to")
    shutil.copyfile(file, target)
    return target
