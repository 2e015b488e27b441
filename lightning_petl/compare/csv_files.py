"""Write a comparison as CSV: a line a row, a pair, a run or a class, in the units of the test."""

from collections.abc import Sequence
from typing import Any

from data_modules.io.names import to_csv
from lightning_petl.compare.groups import ProtocolGroup, told
from lightning_petl.compare.keys import UNKNOWN
from lightning_petl.compare.report import (
    class_rows,
    cost_of,
    metric_names,
    pairs,
)
from lightning_petl.compare.statistics import spread

CsvRow = dict[str, Any]
"""Values by column."""


def methods(groups: Sequence[ProtocolGroup]) -> bytes:
    """Return a line a row: mean and standard deviation of each metric, and costs."""
    rows: list[CsvRow] = []
    for number, group in enumerate(groups, start=1):
        for method in group.methods:
            seeds = {run.seed for run in method.runs}
            row: CsvRow = {"group": number, "method": method.name}
            row |= {"seeds": len(seeds), "runs": len(method.runs)}
            for name in metric_names(group):
                row[name] = method.mean(name)
                row[f"{name} std"] = spread(method.values(name))
            row |= cost_of(method)._asdict()
            rows.append(row)
    return _csv(rows)


def differences(groups: Sequence[ProtocolGroup]) -> bytes:
    """Return a line a pair: the paired difference and its interval; why there is none, where there is none."""
    rows: list[CsvRow] = []
    for number, group in enumerate(groups, start=1):
        for pair in pairs(group):
            found = pair.difference
            rows.append(
                {
                    "group": number,
                    "first": pair.first.name,
                    "second": pair.second.name,
                    "metric": pair.first.main,
                    "difference": found and found.value,
                    "low": found and found.low,
                    "high": found and found.high,
                    "clips": found and found.clips,
                    "why none": pair.why_none,
                }
            )
    return _csv(rows)


def runs(groups: Sequence[ProtocolGroup]) -> bytes:
    """Return a line a run: its folder, seed, metrics, and the values of its protocol."""
    rows: list[CsvRow] = []
    for number, group in enumerate(groups, start=1):
        for method in group.methods:
            for run in method.runs:
                row: CsvRow = {"group": number, "method": method.name}
                row |= {"folder": run.name, "seed": run.seed}
                row |= run.scores.metrics() | run.cost._asdict()
                row["notes"] = "; ".join(run.notes)
                for key, value in run.protocol.items():
                    row[key] = told(value)
                rows.append(row)
    return _csv(rows)


def classes(groups: Sequence[ProtocolGroup]) -> bytes:
    """Return a line a class and row: top-1, 0 to 1, and how far it is from that of the best row."""
    rows: list[CsvRow] = []
    for number, group in enumerate(groups, start=1):
        for found in class_rows(group):
            named = zip(group.methods, found.values, strict=True)
            for method, value in named:
                rows.append(
                    {
                        "group": number,
                        "class": found.name,
                        "clips": found.clips,
                        "method": method.name,
                        "top1": value,
                        "minus best": value - found.values[0],
                    }
                )
    return _csv(rows)


def _csv(rows: Sequence[CsvRow]) -> bytes:
    """Return rows as CSV; what is not known is an empty cell, as other programs expect."""
    columns = dict[str, None]()
    for row in rows:
        columns |= dict.fromkeys(row)
    lines: list[list[object]] = [[*columns]]
    for row in rows:
        cells = [row.get(column) for column in columns]
        lines.append(["" if cell in (None, UNKNOWN) else cell for cell in cells])
    return to_csv(lines)
