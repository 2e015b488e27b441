"""Compare the settings of a sweep by what validation has said of their members."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data_modules.io.atomic import write_whole
from data_modules.io.names import to_csv
from lightning_petl.sweep.order import SweepMember

RANKING = "ranking.csv"
"""What a bank writes: a row a member."""

VALIDATION = "validation.csv"


class ValidationScore(NamedTuple):
    """Hold the best score of a run.

    Attributes:
        monitor: the metric, as ``val/top1``.
        value: of the best checkpoint.
    """

    monitor: str
    value: float


@dataclass(frozen=True, kw_only=True)
class RankedSetting:
    """Hold one setting of a sweep: members that differ in their seed alone.

    Attributes:
        name: as ``lr=1e-3``.
        values: the score of each member that has one.
        members: their number, with and without score.
    """

    name: str
    values: Sequence[float]
    members: int

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """Return the sample standard deviation over seeds; NaN for one seed."""
        if len(self.values) < 2:
            return float("nan")
        return statistics.stdev(self.values)

    @property
    def whole(self) -> bool:
        """Return whether each member has a score."""
        return len(self.values) == self.members


def rank(
    members: Sequence[SweepMember],
    scores: Mapping[str, ValidationScore],
) -> list[RankedSetting]:
    """Return the settings that have a score, the best mean first; those that miss members come last.

    The first one is what validation chooses. Of equal means the one that the grid has first wins.

    Args:
        members: of the sweep.
        scores: by name of a member.

    Raises:
        ValueError: members were not chosen by the same metric, so that nothing can be ranked.
    """
    metrics: set[tuple[str, str]] = set()
    values: dict[str, list[float]] = {}
    numbers: dict[str, int] = {}
    for member in members:
        setting = member.setting
        numbers[setting] = numbers.get(setting, 0) + 1
        score = scores.get(member.name)
        if score is not None:
            mode = member.config["checkpoint"]["mode"]
            metrics.add((score.monitor, mode))
            values.setdefault(setting, []).append(score.value)
    if len(metrics) > 1:
        names = ", ".join(sorted(f"{metric} ({mode})" for metric, mode in metrics))
        raise ValueError(f"members were chosen by different metrics: {names}")
    # Sorted upwards, so that what is to be large is turned around.
    sign = -1.0 if any(mode == "max" for _, mode in metrics) else 1.0
    found: list[RankedSetting] = []
    for setting, its_values in values.items():
        found.append(
            RankedSetting(name=setting, values=its_values, members=numbers[setting])
        )
    return sorted(found, key=lambda one: (not one.whole, sign * one.mean))


def of_bank(run: Path) -> dict[str, ValidationScore]:
    """Return the best score of each member of a bank that has trained to its end, by name.

    A member whose loss was no number has none.
    """
    file = run / RANKING
    if not file.is_file():
        return {}
    found: dict[str, ValidationScore] = {}
    with file.open(newline="", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            # The column behind the name is the metric that ranks.
            monitor = list(row)[1]
            if row[monitor] and not row.get("stopped"):
                found[row["member"]] = ValidationScore(monitor, float(row[monitor]))
    return found


def write_scores(
    folder: Path,
    members: Sequence[SweepMember],
    scores: Mapping[str, ValidationScore],
    states: Mapping[str, str],
) -> Path:
    """Write a row for each member, and return the file.

    Args:
        folder: of the sweep.
        members: of the sweep.
        scores: by name of a member; one that has none has an empty cell.
        states: what became of each member, by name.
    """
    # All members have the same keys.
    keys = list(members[0].words)
    rows: list[list[object]] = [["member", *keys, "monitor", "score", "state"]]
    for member in members:
        values: list[object] = []
        for key in keys:
            values.append(member.words[key].partition("=")[2])
        score = scores.get(member.name)
        told = ["", ""] if score is None else [score.monitor, score.value]
        rows.append([member.name, *values, *told, states[member.name]])
    path = folder / VALIDATION
    write_whole(path, to_csv(rows))
    return path
