"""Refuse runs that cannot stand in one comparison."""

from collections.abc import Sequence

from lightning_petl.compare.reading import ComparedRun

_SHOWN = 3  # names in a message


def check(runs: Sequence[ComparedRun]) -> None:
    """Refuse runs of different tasks or classes, and a run that is given twice.

    Raises:
        ValueError: so it is.
    """
    _check_identities(runs)
    first = runs[0]
    for other in runs[1:]:
        if first.scores.is_retrieval != other.scores.is_retrieval:
            raise ValueError(
                f"compare: {_kind(first)}, {_kind(other)}: compare runs of one task at a time"
            )
        _check_labels(first, other)


def _kind(run: ComparedRun) -> str:
    kind = "ranks videos" if run.scores.is_retrieval else "names classes"
    return f"{run.name} {kind}"


def _check_identities(runs: Sequence[ComparedRun]) -> None:
    seen: dict[str, ComparedRun] = {}
    for run in runs:
        names = [str(run.place.scores.resolve())]
        if run.identity:
            names.append(run.identity)
        for name in names:
            if name in seen and seen[name] is not run:
                raise ValueError(
                    f"compare: {seen[name].name} and {run.name} are the same run, which would count as two seeds: "
                    "leave one out"
                )
            seen[name] = run


def _check_labels(first: ComparedRun, other: ComparedRun) -> None:
    """Refuse runs of different classes.

    Raises:
        ValueError: their number, their names, or the class of a clip differs.
    """
    pair = f"compare: {first.name} and {other.name} have different classes"
    way_out = "compare runs of one set of labels at a time"
    if first.scores.classes != other.scores.classes:
        raise ValueError(
            f"{pair}: {first.scores.classes} and {other.scores.classes}; {way_out}"
        )
    if first.labels and other.labels and first.labels != other.labels:
        index = _first_difference(first.labels, other.labels)
        raise ValueError(
            f"{pair}: number {index} is {first.labels[index]!r} and {other.labels[index]!r}; {way_out}"
        )
    known = dict(zip(_clips(first), first.scores.labels.tolist(), strict=True))
    for clip, label in zip(
        _clips(other), other.scores.labels.tolist(), strict=True
    ):
        if known.get(clip, label) != label:
            raise ValueError(
                f"{pair}: the clip {clip[0]} is of class {known[clip]} and {label}; {way_out}"
            )


def _first_difference(first: Sequence[str], other: Sequence[str]) -> int:
    for index, (one, two) in enumerate(zip(first, other, strict=False)):
        if one != two:
            return index
    raise AssertionError("as many classes, all equal")


def _clips(run: ComparedRun) -> list[tuple[str, int]]:
    """Return the name of each clip, and how many of that name came before."""
    before: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    for name, _, _ in run.scores.keys:
        found.append((name, before.get(name, 0)))
        before[name] = before.get(name, 0) + 1
    return found


def only_in_one(first: Sequence[ComparedRun], other: Sequence[ComparedRun]) -> str:
    """Return a sentence on the clips that not all runs of two methods have; empty where there are none."""
    everywhere = set(first[0].scores.keys)
    anywhere = set(everywhere)
    for run in [*first, *other]:
        everywhere &= set(run.scores.keys)
        anywhere |= set(run.scores.keys)
    alone = sorted(anywhere - everywhere)
    if not alone:
        return ""
    shown = ", ".join(f"{name} ({label})" for name, label, _ in alone[:_SHOWN])
    more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
    return f"no paired difference: not all of their runs have {shown}{more}"
