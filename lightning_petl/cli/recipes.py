"""Print what papers publish about their recipes beside what is counted here (``recipes``)."""

import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_modules.io.progress import progress
from lightning_petl.cli.parsers import CommandParser
from lightning_petl.cli.shipped_configs import PAPERS, SHEET
from lightning_petl.papers.published import OPERATIONS, Figure
from lightning_petl.papers.sheet import PaperSheet, PublishedRun, read_sheet

_MORE = (
    "Nothing is read but the recipes: what is counted is built on tensors "
    "without memory, about a second a row"
)
# Headings and widths of the columns: with frames they fill 80 characters.
_COLUMNS = {
    "row; frames x clips x crops": 21,
    "score": 13,
    "trained parameters: published, counted": 15,
    "GMAC a view: published, counted": 18,
}


def run(argv: list[str]) -> int:
    """Run ``recipes``."""
    parser = CommandParser("recipes", _MORE)
    parser.add_argument(
        "--paper",
        type=str | None,
        default=None,
        help="A folder of recipes, as st_adapter; all of them where it is not given.",
    )
    wanted = parser.parse_args(argv[1:]).paper
    sheets = {name: _sheet(name) for name in _chosen(wanted)}
    console = Console()
    for name, table in _tables(sheets):
        console.print(table)
        # Not through the console, which would break commands at the edge.
        print(_below(name, sheets[name]), flush=True)
    print(_closing(next(iter(sheets.items()))))
    return 0


def papers() -> list[str]:
    """Return the folders of recipes, sorted.

    Raises:
        ValueError: the installation holds none.
    """
    found = sorted(sheet.parent.name for sheet in PAPERS.glob(f"*/{SHEET}"))
    if not found:
        raise ValueError(
            "recipes: this installation of lightning_petl has lost "
            f"its recipes: {PAPERS} holds none; install it again"
        )
    return found


def _chosen(paper: str | None) -> list[str]:
    """Return the folders to show.

    Raises:
        ValueError: there is no such folder.
    """
    known = papers()
    if paper is None:
        return known
    if paper not in known:
        near = get_close_matches(paper, known, n=2) or known
        raise ValueError(
            f"recipes: no paper is named {paper!r}; near: {', '.join(near)}; "
            "lightning-petl recipes shows all"
        )
    return [paper]


def _sheet(paper: str) -> PaperSheet:
    return read_sheet(PAPERS / paper / SHEET)


def _tables(sheets: dict[str, PaperSheet]) -> Iterable[tuple[str, Table]]:
    """Yield a table a paper, as soon as its rows are counted."""
    # Imported late: it needs torch, which a wrong name of a paper does not.
    from lightning_petl.cli.recipe_costs import count_recipe

    total = sum(len(sheet.runs) for sheet in sheets.values())
    with progress("rows", console=Console(stderr=True)) as bar:
        task = bar.add_task("counting", total=total)
        for name, sheet in sheets.items():
            table = Table(title=f"{sheet.title} ({sheet.cite})", show_lines=True)
            for heading, width in _COLUMNS.items():
                table.add_column(heading, width=width)
            for number, run in enumerate(sheet.runs, 1):
                cost = count_recipe(f"{name}/{run.recipe}", run.options)
                row = _cells(number, run, cost.parameters, cost.operations)
                table.add_row(*map(Text, row))
                bar.advance(task)
            yield name, table


def _cells(
    number: int, run: PublishedRun, parameters: int, operations: int
) -> Sequence[str]:
    score = "" if run.score is None else f"{run.metric}\n{_told(run.score)}"
    giga = operations / 1e9
    return (
        f"{number}. {run.name}; {run.views.replace('x', ' x ')}",
        score,
        _both(run.parameters, f"{parameters:,}", parameters, 0.0),
        _both(run.gmacs, f"{giga:,.1f}", operations, OPERATIONS),
    )


def _both(
    figure: Figure | None, text: str, counted: int | float, tolerance: float
) -> str:
    """Return a published number and, in a line of its own, the counted one.

    A star marks a count that is not the published number; what stands under the table says why.
    """
    agrees = figure is None or figure.agrees(counted, tolerance)
    return f"{_told(figure) or '-'}\n{text}{'' if agrees else ' *'}"


def _told(figure: Figure | None) -> str:
    """Return a published number with its evidence; nothing where none was published."""
    return "" if figure is None else f"{figure.says} ({figure.evidence})"


def _below(name: str, sheet: PaperSheet) -> str:
    """Return what stands under a table: commands, why numbers differ, and what waits."""
    lines = ["What follows `lightning-petl fit -c` for each row:"]
    for number, run in enumerate(sheet.runs, 1):
        command = shlex.join([f"{name}/{run.recipe}", *run.options])
        lines.append(f"{number:3}. {command}")
    states = [run.status for run in sheet.runs]
    for status in dict.fromkeys(states):
        lines.append(f"{states.count(status)} rows: {status}")
    for run in sheet.runs:
        for figure in (run.parameters, run.gmacs):
            if figure is not None and figure.other:
                lines.append(f"* {run.name}: {figure.other}")
    for waiting in sheet.waiting:
        lines.append(f"waits for {waiting.waits_for}: {waiting.name}")
    lines.append(f"elements, evidence, memory: {PAPERS / name / SHEET}")
    return "\n".join([*lines, ""])


def _closing(first: tuple[str, PaperSheet]) -> str:
    name, sheet = first
    recipe = sheet.runs[0].recipe
    return (
        "Train one: lightning-petl fit "
        f"-c {name}/{recipe} --data.init_args.root=FOLDER"
    )
