"""Put runs of one protocol together, and those that differ in the seed alone into one row."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from lightning_petl.compare.keys import Flat, canonical
from lightning_petl.compare.reading import ComparedRun

METHOD = "adapters"

# where a setting of the data set is compared, these follow from it
_FOLLOWING = ("train_clips", "manifest", "data.subset_seed")


class ComparedMethod(NamedTuple):
    """Hold one row: runs that differ in the seed alone.

    Attributes:
        name: unlike that of any other row of its group.
        settings: of all of its runs, with what is compared of the protocol.
        runs: in the order of their seeds.
    """

    name: str
    settings: Flat
    runs: tuple[ComparedRun, ...]

    def values(self, metric: str) -> list[float]:
        """Return a metric of each run, in the unit of the test; none where a run has none."""
        found: list[float] = []
        for run in self.runs:
            # the other direction of a retrieval is only in what its test has logged
            value = run.scores.metrics().get(metric, run.logged.get(metric))
            if value is not None:
                found.append(value)
        return found

    def mean(self, metric: str) -> float:
        """Return the mean over the runs."""
        values = self.values(metric)
        return sum(values) / len(values)

    @property
    def main(self) -> str:
        """Return the metric that rows are ordered by."""
        return self.runs[0].scores.main


class ProtocolGroup(NamedTuple):
    """Hold runs that may be compared.

    Attributes:
        protocol: what is equal in all of them.
        methods: its rows, the best one first.
        named: the keys whose values are in the names of the rows.
    """

    protocol: Flat
    methods: tuple[ComparedMethod, ...]
    named: tuple[str, ...] = (METHOD,)


def grouped(
    runs: Sequence[ComparedRun], by: Sequence[str] = ()
) -> list[ProtocolGroup]:
    """Return the groups, the largest first.

    Args:
        runs: of one task and one set of labels.
        by: keys that name the rows, as users write them. One of the protocol is then compared, and separates nothing.

    Raises:
        ValueError: no run has such a key.
    """
    keys = [_existing(key, runs) for key in by]
    free = keys
    if any("data." in key for key in keys):
        free = list(dict.fromkeys([*keys, *_FOLLOWING]))
    found: dict[str, list[ComparedRun]] = {}
    for run in runs:
        found.setdefault(_text(_protocol(run, free)), []).append(run)
    groups: list[ProtocolGroup] = []
    for members in found.values():
        rows = _methods(members, keys, free)
        named = tuple(keys or [METHOD])
        groups.append(ProtocolGroup(_protocol(members[0], free), rows, named))
    return sorted(groups, key=lambda group: -len(group.methods))


def differing(parts: Sequence[Flat]) -> list[str]:
    """Return the keys in which dictionaries differ, in the order of the first that has each."""
    found: list[str] = []
    for key in dict.fromkeys(key for part in parts for key in part):
        values = {_text(part.get(key)) for part in parts}
        if len(values) > 1:
            found.append(key)
    return found


def _existing(key: str, runs: Sequence[ComparedRun]) -> str:
    """Return the short name of a key.

    Raises:
        ValueError: no run has it.
    """
    short = canonical(key)
    # of all runs: a key of one method alone may name its rows
    names = dict[str, None]()
    for run in runs:
        names |= dict.fromkeys([*run.settings, *run.protocol])
    if short in names:
        return short
    # `--by rank` means `adapters.LoRA.rank`, which is not of a near spelling
    near = get_close_matches(short, [*names, "method"], n=3)
    ends = [name for name in names if name.rpartition(".")[2] == short]
    told = ", ".join(dict.fromkeys([*ends, *near])) or ", ".join(list(names)[:8])
    raise ValueError(f"compare: --by {key}: no run has this key; near: {told}")


def _protocol(run: ComparedRun, keys: Sequence[str]) -> Flat:
    found: Flat = {}
    for key, value in run.protocol.items():
        # what is not set is as in a release that did not have it
        if key not in keys and value is not None:
            found[key] = value
    return found


def _compared(run: ComparedRun, keys: Sequence[str]) -> Flat:
    """Return the settings of a run, with what is compared of its protocol."""
    found: Flat = {}
    for key, value in run.settings.items():
        if value is not None:
            found[key] = value
    for key in keys:
        if key not in found:
            found[key] = run.protocol.get(key)
    return found


def _methods(
    runs: Sequence[ComparedRun], keys: Sequence[str], free: Sequence[str]
) -> tuple[ComparedMethod, ...]:
    """Return the rows of a group, the best one first.

    Args:
        runs: of the group.
        keys: that name the rows.
        free: keys of the protocol that are compared, which runs of one row share.
    """
    rows: dict[str, list[ComparedRun]] = {}
    for run in runs:
        rows.setdefault(_text(_compared(run, free)), []).append(run)
    settings = [_compared(members[0], free) for members in rows.values()]
    named = zip(names(settings, keys), settings, rows.values(), strict=True)
    methods: list[ComparedMethod] = []
    for name, own, members in named:
        in_order = tuple(sorted(members, key=lambda run: _seed_order(run.seed)))
        methods.append(ComparedMethod(name, own, in_order))
    return tuple(sorted(methods, key=lambda row: -row.mean(row.main)))


def _seed_order(seed: str) -> tuple[int, str]:
    # 2 comes before 10, and a seed that is no number behind all others
    return (int(seed), "") if seed.isdigit() else (1 << 62, seed)


def names(rows: Sequence[Flat], keys: Sequence[str] = ()) -> list[str]:
    """Return a short name for each row, unlike all others.

    It holds the values of ``keys``, by default the methods; where these are equal, also the settings in which such
    rows differ. Values that every row shares are left out::

        LoRA of rank 4, LoRA of rank 8, STAdapter   ->   LoRA rank=4, LoRA rank=8, STAdapter

    Args:
        rows: settings by short name; no two are equal.
        keys: by short name.
    """
    bases: list[str] = []
    for row in rows:
        parts = [_part(key, row.get(key)) for key in (keys or [METHOD])]
        bases.append(" ".join(parts))
    found = list(bases)
    for base in set(bases):
        alike = [index for index, other in enumerate(bases) if other == base]
        differ = differing([rows[index] for index in alike])
        short = _short(differ)
        for index in alike:
            for key in differ:
                found[index] += f" {short[key]}={told(rows[index].get(key))}"
    return found


def _part(key: str, value: Any) -> str:
    if key == METHOD:
        return "head alone" if value == "none" else str(value)
    return f"{key.rpartition('.')[2]}={told(value)}"


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Return the last word of each key, or the whole key where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    found: dict[str, str] = {}
    for key, word in zip(keys, last, strict=True):
        found[key] = word if last.count(word) == 1 else key
    return found


def told(value: Any) -> str:
    """Return a value in one short word.

    >>> told(0.001), told(None), told(["q", "v"])
    ('0.001', 'none', 'q,v')
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ",".join(map(told, value)) or "none"
    if isinstance(value, Mapping):
        return json.dumps(value) if value else "none"
    return str(value)


def _text(value: Any) -> str:
    """Return a value as text that is equal for equal values: 1 and 1.0, lists and tuples."""
    return json.dumps(_plain(value), sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # YAML has 1 where JSON may have 1.0
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
