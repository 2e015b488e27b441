"""Write the README of a folder of recipes from its sheet."""

import shlex
from collections.abc import Iterator
from dataclasses import fields

from lightning_petl.papers.published import Figure
from lightning_petl.papers.sheet import (
    PaperSheet,
    Protocol,
    PublishedRun,
    WaitingRun,
)

_COLUMNS = (
    "row",
    "`lightning-petl fit -c`",
    "where it stands",
    "frames x clips x crops",
    "published score",
    "trained parameters, published",
    "by closed form, with head",
    "GMAC a view, published",
    "memory, published",
    "status",
)
_EVIDENCE = (
    "Evidence: *read* in the released code or its README; *figure*, read off a "
    "picture of a table or a plot; *abstract*; *quoted* in another public "
    "document; *derived* by arithmetic from one of these; *recalled* from "
    "memory, not seen."
)


def readme(folder: str, sheet: PaperSheet) -> str:
    """Return the text of ``experiments/<folder>/README.md``."""
    parts = [f"# {sheet.title}", _head(sheet), sheet.about, _EVIDENCE]
    parts += [_table(folder, sheet), *_notes(sheet)]
    for key, protocol in sheet.protocols.items():
        parts += [f"## Protocol `{key}`", _protocol(protocol)]
    if sheet.waiting:
        parts += ["## What has no recipe yet", _waiting(sheet.waiting)]
    parts += ["## Commands", _commands(folder, sheet.runs[0])]
    return "\n\n".join(parts) + "\n"


def _head(sheet: PaperSheet) -> str:
    code = f"Code: <{sheet.code}>." if sheet.code else "No code is public."
    return (
        f"{sheet.cite}. {code} This page is made from `recipes.yaml` "
        "by `make recipes`; change that file."
    )


def _table(folder: str, sheet: PaperSheet) -> str:
    lines = [_row(_COLUMNS), _row(("---",) * len(_COLUMNS))]
    for run in sheet.runs:
        lines.append(_row(_cells(folder, run)))
    return "\n".join(lines)


def _cells(folder: str, run: PublishedRun) -> tuple[str, ...]:
    command = shlex.join([f"{folder}/{run.recipe}", *run.options])
    score = f"{run.metric} {_told(run.score)}" if run.score else ""
    return (
        run.name,
        f"`{command}`",
        run.place,
        run.views.replace("x", " x "),
        score,
        _told(run.parameters),
        "" if run.count is None else f"{run.count:,}",
        _told(run.gmacs),
        _told(run.memory),
        run.status,
    )


def _told(figure: Figure | None) -> str:
    if figure is None:
        return ""
    source = f", {figure.source}" if figure.source else ""
    return f"{figure.says} (*{figure.evidence}*{source})"


def _notes(sheet: PaperSheet) -> Iterator[str]:
    """Yield one paragraph of what differs beside the protocol, where anything does."""
    lines: list[str] = []
    for run in sheet.runs:
        told = list(run.differs)
        for figure in (run.parameters, run.gmacs):
            if figure is not None and figure.other:
                told.append(figure.other)
        if told:
            lines.append(f"- {run.name}: {'; '.join(told)}.")
    if lines:
        yield "What is known to differ beside the protocols below:"
        yield "\n".join(lines)


def _protocol(protocol: Protocol) -> str:
    """Return who says so, and a table of the elements."""
    columns = ("element", "published", "here")
    lines = [_row(columns), _row(("---",) * len(columns))]
    for part in fields(protocol):
        if part.name == "evidence":
            continue
        element = getattr(protocol, part.name)
        here = element.differs or "as published"
        lines.append(_row((part.name, element.published, here)))
    return "\n".join([f"Evidence: {protocol.evidence}.", "", *lines])


def _waiting(runs: list[WaitingRun]) -> str:
    columns = ("row", "published", "waits for")
    lines = [_row(columns), _row(("---",) * len(columns))]
    for run in runs:
        lines.append(_row((run.name, run.published, run.waits_for)))
    return "\n".join(lines)


def _commands(folder: str, run: PublishedRun) -> str:
    name = f"{folder}/{run.recipe}"
    lines = [
        "```bash",
        f"lightning-petl recipes --paper {folder}   # with what is counted here",
        f"lightning-petl configs show {name}",
        f"lightning-petl fit -c {name} --data.init_args.root=FOLDER",
        "```",
    ]
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    # A bar would end the cell.
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
