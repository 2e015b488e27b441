"""Write what a study has found beside the tables that ``compare`` makes of its tests."""

import csv
import json
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from data_modules.io.atomic import write_whole
from data_modules.io.names import to_csv
from experiments.benchmarks.machine import cpu
from experiments.study.plan import LR, Study

RATES = "learning_rates.csv"
_MINUTES = "minutes.json"


def note_minutes(runs: Path, method: str, minutes: float) -> None:
    """Add the minutes that a start has spent on a method to those of earlier starts."""
    spent = _minutes(runs)
    spent[method] = spent.get(method, 0.0) + minutes
    write_whole(runs / _MINUTES, json.dumps(spent, indent=1).encode())


def _minutes(runs: Path) -> dict[str, float]:
    file = runs / _MINUTES
    return json.loads(file.read_text()) if file.is_file() else {}


def published_rate(study: Path, method: str) -> float:
    """Return the learning rate that another study has chosen for a method.

    Raises:
        ValueError: it has chosen none.
    """
    file = study / "results" / RATES
    if file.is_file():
        for row in rows_of(file):
            if row["method"] == method and row["chosen"]:
                return float(row["learning rate"])
    raise ValueError(
        f"{file} chooses no learning rate for {method}: run {study} first"
    )


def rows_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column."""
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def write(study: Study, runs: Path, folder: Path) -> None:
    """Write which learning rates were tried, and on what and how long the study ran."""
    if study.chosen_by is None:
        write_whole(folder / RATES, to_csv(_tried(runs)))
    spent = _minutes(runs)
    lines = [
        f"# {study.title}: how it ran",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}, {cpu()}, {torch.get_num_threads()} threads of a process",
        f"- Python {platform.python_version()}, torch {torch.__version__}",
        f"- {sum(spent.values()):.0f} minutes in all; runs beside it on the machine are not known",
        "",
        "| method | minutes |",
        "|---|---:|",
    ]
    for method, minutes in spent.items():
        lines.append(f"| {method} | {minutes:.1f} |")
    write_whole(folder / "machine.md", "\n".join([*lines, ""]).encode())


def _tried(runs: Path) -> list[list[object]]:
    """Return a row for each learning rate of each method, and whether it was chosen."""
    rows: list[list[object]] = [["method", "learning rate", "validation", "chosen"]]
    for file in sorted(runs.glob("tuning/*/validation.csv")):
        tried = rows_of(file)
        best = best_row(tried)
        for row in tried:
            chosen = "yes" if row is best else ""
            rows.append([file.parent.name, row[LR], row["score"], chosen])
    return rows


def best_row(rows: list[dict[str, str]]) -> dict[str, str] | None:
    """Return the row with the best score of validation, of equal ones the first; None where none has one."""
    scored = [row for row in rows if row["score"]]
    return max(scored, key=lambda row: float(row["score"]), default=None)
