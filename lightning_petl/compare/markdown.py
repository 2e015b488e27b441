"""Write a comparison as Markdown that is also read well as it stands."""

from collections.abc import Iterator, Sequence
from typing import Any

from data_modules.io.names import visible
from lightning_petl.compare.groups import (
    ComparedMethod,
    ProtocolGroup,
    differing,
    told,
)
from lightning_petl.compare.keys import UNKNOWN
from lightning_petl.compare.report import (
    SHARES,
    ComparedPair,
    class_rows,
    cost_of,
    metric_names,
    notes,
    pairs,
    repeated_seeds,
)
from lightning_petl.compare.statistics import DRAWS, PairedDifference, spread

_TITLES = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "mean_class": "class mean %",
    "R1": "R@1 %",
    "R5": "R@5 %",
    "R10": "R@10 %",
    "v2t_any/R1": "v2t R@1 %",
    "v2t_set/R1": "v2t (sets) R@1 %",
}
_LONGEST = 24  # characters of a name in the head of a column
_MANY = 5  # classes at each end of a list of differences


def report(groups: Sequence[ProtocolGroup], *, classes: bool = False) -> str:
    """Return all groups as Markdown.

    Args:
        groups: from :func:`~lightning_petl.compare.groups.grouped`.
        classes: also list the classes in which the rows differ most.
    """
    lines = [_title(groups), ""]
    if len(groups) > 1:
        lines += [*_what_separates(groups), ""]
    for number, group in enumerate(groups, start=1):
        if len(groups) > 1:
            lines += [f"## Group {number}", ""]
        lines += _group(group, classes)
    return "\n".join(lines).rstrip() + "\n"


def _title(groups: Sequence[ProtocolGroup]) -> str:
    methods = sum(len(group.methods) for group in groups)
    runs = 0
    for group in groups:
        for method in group.methods:
            runs += len(method.runs)
    named = "method" if methods == 1 else "methods"
    return f"# {methods} {named}, {runs} run{'s' if runs > 1 else ''}"


def _what_separates(groups: Sequence[ProtocolGroup]) -> Iterator[str]:
    keys = differing([group.protocol for group in groups])
    yield (
        f"The runs follow {len(groups)} protocols, and are compared within each of them alone. "
        f"`--by {','.join(keys)}` would compare them all the same. What differs:"
    )
    yield ""
    header = ["", *(f"group {number}" for number in range(1, len(groups) + 1))]
    rows: list[list[str]] = []
    for key in keys:
        values = [told(group.protocol.get(key)) for group in groups]
        rows.append([key, *values])
    yield from table(header, rows)


def _group(group: ProtocolGroup, classes: bool) -> Iterator[str]:
    found = pairs(group)
    yield from _results(group, found)
    yield ""
    yield _legend(group)
    yield ""
    yield from _costs(group)
    yield ""
    yield from table(["protocol", ""], _protocol(group))
    yield ""
    yield from _settings(group)
    if classes:
        yield from _classes(group)
    # two rows may have the same to say
    told_once = dict.fromkeys([*notes(group), *_unpaired(found)])
    for note in told_once:
        yield f"- {visible(note)}"
    if told_once:
        yield ""


def _results(group: ProtocolGroup, found: Sequence[ComparedPair]) -> Iterator[str]:
    metrics = metric_names(group)
    best = group.methods[0]
    to_best: dict[str, ComparedPair] = {}
    for pair in found:
        if pair.first is best:
            to_best[pair.second.name] = pair
    header = ["method", "seeds", *(_TITLES.get(name, name) for name in metrics)]
    if len(group.methods) > 1:
        # a long name would make the column wide
        short = len(best.name) <= _LONGEST
        header.append(f"minus {best.name if short else 'the first'}")
    rows: list[list[str]] = []
    for method in group.methods:
        row = [method.name, _seeds(method)]
        row += [_mean_and_spread(method, name) for name in metrics]
        if len(group.methods) > 1:
            row.append(_minus_best(to_best.get(method.name)))
        rows.append(row)
    yield from table(header, rows)


def _seeds(method: ComparedMethod) -> str:
    count = len({run.seed for run in method.runs})
    if repeated_seeds(method):
        return f"{count} ({len(method.runs)} runs)"
    return str(count)


def _mean_and_spread(method: ComparedMethod, metric: str) -> str:
    values = method.values(metric)
    # recalls are percent already, and ranks are ranks
    factor = 100 if metric in SHARES else 1
    text = f"{factor * method.mean(metric):.1f}"
    deviation = spread(values)
    return text if deviation is None else f"{text} ± {factor * deviation:.1f}"


def _minus_best(pair: ComparedPair | None) -> str:
    if pair is None:
        return ""
    if pair.difference is None:
        return "not paired"
    # of the best one minus this one
    # so are the ends of the interval, in the other order
    value, low, high, _ = pair.difference
    swapped = PairedDifference(-value, -high, -low, 0)
    return interval(swapped)


def interval(difference: PairedDifference) -> str:
    """Return a difference in percent points with its interval, such as ``-2.1 [-3.4, -0.8]``."""
    value, low, high, _ = difference
    return f"{_points(value)} [{_points(low)}, {_points(high)}]"


def _points(value: float) -> str:
    # no sign before a zero
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _legend(group: ProtocolGroup) -> str:
    runs = group.methods[0].runs[0].scores
    what = "captions" if runs.is_retrieval else "clips"
    legend = f"{len(runs.keys)} test {what}; mean ± standard deviation over seeds."
    if len(group.methods) > 1:
        legend += (
            f" Differences are paired over the same {what}, in points of {_TITLES[runs.main]}, with the middle 95 % of "
            f"{DRAWS:,} bootstrap draws of the clips."
        )
    return legend


def _costs(group: ProtocolGroup) -> Iterator[str]:
    header = [
        "method",
        "trained parameters",
        "without head",
        "GMACs a view",
        "peak MiB",
        "clips/s",
    ]
    rows: list[list[str]] = []
    for method in group.methods:
        cost = cost_of(method)
        adapters = None
        if cost.parameters is not None and cost.head is not None:
            adapters = cost.parameters - cost.head
        rows.append(
            [
                method.name,
                _whole(cost.parameters),
                _whole(adapters),
                _number(None if cost.macs is None else cost.macs / 1e9),
                _whole(cost.memory_mib),
                _number(cost.clips_per_s),
            ]
        )
    yield from table(header, rows)


def _whole(value: float | None) -> str:
    return UNKNOWN if value is None else f"{round(value):,}"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.4g}"


def _protocol(group: ProtocolGroup) -> list[tuple[str, str]]:
    """Return the rows of a table of what is equal in all runs of a group."""
    values = dict(group.protocol)
    rows: list[tuple[str, str]] = []
    look = [values.pop("frames", None), *str(values.pop("views", "")).split("x")]
    if all(look):
        rows.append(("frames x clips x crops", " x ".join(map(str, look))))
    for key, value in values.items():
        # what is not set is as it is for everybody
        if value not in (None, [], {}):
            rows.append((key, _told(value)))
    return rows


def _told(value: Any) -> str:
    text = told(value)
    # equal in being unknown is no equality
    return f"{text}, not compared" if text == UNKNOWN else text


def _settings(group: ProtocolGroup) -> Iterator[str]:
    """Yield a table of the settings in which the rows differ, beside their methods."""
    keys = differing([method.settings for method in group.methods])
    shared = [key for key in keys if key not in group.named and _in_all(group, key)]
    if not shared:
        return
    rows: list[list[str]] = []
    for key in shared:
        values = [told(method.settings.get(key)) for method in group.methods]
        rows.append([key, *values])
    yield from table(["setting", *(row.name for row in group.methods)], rows)
    yield ""


def _in_all(group: ProtocolGroup, key: str) -> bool:
    return all(key in method.settings for method in group.methods)


def _classes(group: ProtocolGroup) -> Iterator[str]:
    """Yield the classes in which each row differs most from the best one."""
    rows = class_rows(group)
    best = group.methods[0]
    for number, method in enumerate(group.methods[1:], start=1):
        ordered = sorted(rows, key=lambda row: row.values[number] - row.values[0])
        chosen = ordered
        if len(ordered) > 2 * _MANY:
            chosen = [*ordered[:_MANY], *ordered[-_MANY:]]
        lines: list[list[str]] = []
        for row in chosen:
            own = 100 * row.values[number]
            other = 100 * row.values[0]
            lines.append(
                [
                    row.name,
                    str(row.clips),
                    f"{own:.1f}",
                    f"{other:.1f}",
                    f"{own - other:+.1f}",
                ]
            )
        yield from table(
            ["class", "clips", method.name, best.name, "difference"], lines
        )
        yield ""
    if len(group.methods) == 1:
        lines = [
            [row.name, str(row.clips), f"{100 * row.values[0]:.1f}"] for row in rows
        ]
        yield from table(["class", "clips", best.name], lines)
        yield ""


def _unpaired(found: Sequence[ComparedPair]) -> Iterator[str]:
    for pair in found:
        if pair.why_none:
            yield f"{pair.first.name} and {pair.second.name}: {pair.why_none}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table whose columns are aligned.

    >>> print(*table(["a", "b"], [["x|y", "1"]]), sep="\\n")
    | a    | b |
    |------|---|
    | x\\|y | 1 |
    """
    cells: list[list[str]] = []
    for row in [header, *rows]:
        cells.append(list(map(_cell, row)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        padded = [
            text.ljust(width) for text, width in zip(row, widths, strict=True)
        ]
        yield f"| {' | '.join(padded)} |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def _cell(text: str) -> str:
    return visible(text).replace("|", "\\|")
