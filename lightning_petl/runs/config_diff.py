"""Compare two nested configurations."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any


def config_differences(
    before: Any, now: Any, key: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, value before, value now) for each value in which two configurations differ.

    None stands for a value that one of them does not have.

    >>> list(config_differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}, "c": 4}))
    [('a.b[1]', 2, 3), ('c', None, 4)]

    Args:
        before: dictionaries, lists and values in each other.
        now: likewise.
        key: in front of the keys of both.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            below = f"{key}.{name}" if key else str(name)
            yield from config_differences(before.get(name), now.get(name), below)
    elif isinstance(before, list) and isinstance(now, list):
        for index, (old, new) in enumerate(zip_longest(before, now)):
            yield from config_differences(old, new, f"{key}[{index}]")
    elif before != now:
        yield key, before, now
