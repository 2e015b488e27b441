"""Turn groups of runs into numbers that tables and plots show."""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

from lightning_petl.compare.checks import only_in_one
from lightning_petl.compare.groups import ComparedMethod, ProtocolGroup
from lightning_petl.compare.reading import ComparedRun
from lightning_petl.compare.statistics import PairedDifference, paired_difference

# of a retrieval, what the test logs of the other direction beside what captions give
LOGGED = ("v2t_any/R1", "v2t_set/R1")

# metrics that are shares; tables show percent
SHARES = ("top1", "top5", "mean_class")


class MethodCost(NamedTuple):
    """Hold the cost of a row as :class:`~lightning_petl.compare.reading.RunCost` does, over its runs.

    Parameters and operations are those of each run; memory is the largest, speed the median.
    """

    parameters: int | None
    head: int | None
    macs: int | None
    memory_mib: float | None
    clips_per_s: float | None
    hardware: str


class ComparedPair(NamedTuple):
    """Hold two rows, and their difference or why there is none."""

    first: ComparedMethod
    second: ComparedMethod
    difference: PairedDifference | None
    why_none: str


def cost_of(method: ComparedMethod) -> MethodCost:
    """Return the cost of a row; what its runs disagree in, or what one of them lacks, is not known."""
    costs = [run.cost for run in method.runs]
    memory = [cost.memory_mib for cost in costs if cost.memory_mib is not None]
    speed = [cost.clips_per_s for cost in costs if cost.clips_per_s is not None]
    return MethodCost(
        _agreed([cost.parameters for cost in costs]),
        _agreed([cost.head for cost in costs]),
        _agreed([cost.macs for cost in costs]),
        max(memory, default=None),
        median(speed) if speed else None,
        ", ".join(dict.fromkeys(cost.hardware for cost in costs)),
    )


def _agreed(values: Sequence[int | None]) -> int | None:
    return values[0] if len(set(values)) == 1 else None


def metric_names(group: ProtocolGroup) -> list[str]:
    """Return the metrics that every row of a group has, the main one first."""
    first = group.methods[0].runs[0]
    found: list[str] = []
    for name in [*first.scores.metrics(), *LOGGED]:
        # among so few classes nothing else is possible
        if name == "top5" and first.scores.classes <= 5:
            continue
        rows = group.methods
        # an older test may lack one, and a mean over fewer runs would be another mean
        if all(len(row.values(name)) == len(row.runs) for row in rows):
            found.append(name)
    return found


def pairs(group: ProtocolGroup) -> list[ComparedPair]:
    """Return all pairs of rows, the better one first."""
    found: list[ComparedPair] = []
    for first, second in combinations(group.methods, 2):
        why = only_in_one(first.runs, second.runs)
        difference = None
        if not why:
            difference = paired_difference(
                [run.scores for run in first.runs],
                [run.scores for run in second.runs],
                first.main,
            )
        found.append(ComparedPair(first, second, difference, why))
    return found


def repeated_seeds(method: ComparedMethod) -> list[str]:
    """Return the seeds that more than one run of a row has."""
    seeds = [run.seed for run in method.runs]
    return sorted({seed for seed in seeds if seeds.count(seed) > 1})


def notes(group: ProtocolGroup) -> list[str]:
    """Return sentences on the runs of a group that its reader must know."""
    found: list[str] = []
    for method in group.methods:
        for run in method.runs:
            found += [f"{run.name}: {note}" for note in run.notes]
        twice = repeated_seeds(method)
        if twice:
            found.append(
                f"{method.name}: several runs of seed {', '.join(twice)}; a run that is repeated is no further seed"
            )
    found += _hardware(group)
    if any(run.place.member for method in group.methods for run in method.runs):
        found.append(
            "members of a bank share its pass: none of them has memory or speed of its own"
        )
    return found


def _hardware(group: ProtocolGroup) -> list[str]:
    kinds = dict.fromkeys(cost_of(method).hardware for method in group.methods)
    if len(kinds) < 2:
        return []
    return [f"memory and clips/s are of different hardware: {'; '.join(kinds)}"]


class ClassRow(NamedTuple):
    """Hold top-1 of one class, 0 to 1, of each row of a group, the mean over its runs."""

    label: int
    name: str
    clips: int
    values: tuple[float, ...]


def class_rows(group: ProtocolGroup) -> list[ClassRow]:
    """Return one row a class that has clips, by class index."""
    first = group.methods[0].runs[0]
    tables = [_class_means(method.runs) for method in group.methods]
    found: list[ClassRow] = []
    for label in sorted(tables[0]):
        name = first.labels[label] if first.labels else f"class {label}"
        clips = int((first.scores.labels == label).sum())
        # where --by compares sets of test clips, a row may have none of a class
        values = tuple(table.get(label, math.nan) for table in tables)
        found.append(ClassRow(label, name, clips, values))
    return found


def _class_means(runs: Sequence[ComparedRun]) -> dict[int, float]:
    sums: dict[int, float] = {}
    for run in runs:
        for label, value in run.scores.by_class().items():
            sums[label] = sums.get(label, 0.0) + value / len(runs)
    return sums
