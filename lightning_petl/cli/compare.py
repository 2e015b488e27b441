"""Compare finished runs: tables, CSV and pictures (``compare``)."""

import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from rich.console import Console
from rich.progress import track

from data_modules.io.atomic import write_whole
from data_modules.io.names import visible
from lightning_petl.cli import config_text
from lightning_petl.cli.parsers import CommandParser
from lightning_petl.compare import csv_files, markdown, plots
from lightning_petl.compare.checks import check
from lightning_petl.compare.folders import places
from lightning_petl.compare.groups import ProtocolGroup, grouped
from lightning_petl.compare.reading import ComparedRun, read_run
from lightning_petl.runs.folder import new_version

REPORT = "compare.md"
_NO_PICTURES = (
    "no pictures: matplotlib is not installed; pip install 'lightning_petl[plots]'"
)


def run(argv: list[str]) -> int:
    """Run ``compare``."""
    given = _parser().parse_args(argv[1:])
    _require_folder(given.output)
    runs = _read([Path(folder) for folder in given.runs])
    check(runs)
    if given.classes and runs[0].scores.is_retrieval:
        raise ValueError(
            "compare: --classes: runs of a retrieval have no classes; leave it out"
        )
    keys = [key for key in (given.by or "").split(",") if key]
    groups = grouped(runs, keys)
    text = markdown.report(groups, classes=given.classes)
    print(text)
    output = (
        Path(given.output) if given.output else new_version(Path("runs/compare"))
    )
    for file in _write(output, groups, text, given.classes):
        print(f"written to {visible(str(file))}")
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        "compare",
        "A bank stands for all of its members. Runs of different protocols are shown in groups apart.",
    )
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        help="folders of runs that lightning-petl test has tested, of tests, "
        "or of members of a bank",
    )
    parser.add_argument(
        "--by",
        type=str | None,
        default=None,
        help="keys that name the rows, as method,model.optim.lr; one of the protocol "
        "is then compared and separates nothing",
    )
    parser.add_argument(
        "--classes",
        action="store_true",
        help="also the classes in which the methods differ most",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="folder of the files; by default a new one in runs/compare",
    )
    return parser


def _require_folder(output: str | None) -> None:
    """Refuse an output that is a file, before minutes of reading.

    Raises:
        ValueError: so it is.
    """
    if output and Path(output).exists() and not Path(output).is_dir():
        raise ValueError(f"compare: --output {output} is a file; give a folder")


def _read(folders: Sequence[Path]) -> list[ComparedRun]:
    found = []
    # all of them first, so that a wrong folder is told before minutes of reading
    for folder in folders:
        found += places(folder, config_text.read)
    runs: list[ComparedRun] = []
    console = Console(stderr=True)
    shown = track(
        found,
        "reading scores",
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    for place in shown:
        runs.append(read_run(place, config_text.read))
    return runs


def _write(
    output: Path, groups: Sequence[ProtocolGroup], text: str, classes: bool
) -> list[Path]:
    """Write all files and return them; a file of an earlier comparison in the folder is replaced whole."""
    files = {
        REPORT: text.encode("utf-8", "backslashreplace"),
        "methods.csv": csv_files.methods(groups),
        "differences.csv": csv_files.differences(groups),
        "runs.csv": csv_files.runs(groups),
    }
    if classes:
        files["classes.csv"] = csv_files.classes(groups)
    files |= _pictures(groups)
    for name, content in files.items():
        write_whole(output / name, content)
    return [output / name for name in files]


def _pictures(groups: Sequence[ProtocolGroup]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for number, group in enumerate(groups, start=1):
        name = "cost.png" if len(groups) == 1 else f"cost-{number}.png"
        try:
            picture = plots.drawn(group)
        except ImportError:
            print(_NO_PICTURES)
            return {}
        if picture is None:
            print(f"no {name}: no cost of these runs is known")
        else:
            found[name] = picture
    return found
