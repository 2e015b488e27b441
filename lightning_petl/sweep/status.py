"""Keep what became of each process of a sweep, in a file that outlives the sweep's own process."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from data_modules.io.atomic import write_whole
from data_modules.io.untrusted import read_json

CallState = Literal["waiting", "running", "done", "failed", "interrupted"]

MOST_FAILURES = 3
"""Starts of a sweep that try a member which fails each time; later ones report it and go past it."""

_MOST_BYTES = 1 << 26


@dataclass
class CallStatus:
    """Hold what became of one process.

    Attributes:
        state: of now.
        why: it has failed: the last line that it printed.
        failures: in how many starts of the sweep it has failed, one after another.
        seconds: that it has run, over all starts.
    """

    state: CallState = "waiting"
    why: str = ""
    failures: int = 0
    seconds: float = 0.0

    @property
    def given_up(self) -> bool:
        """Return whether it is not tried again."""
        return self.failures >= MOST_FAILURES


class StatusFile:
    """Keep the status of each process by its stage (``fit``, ``test``) and its name.

    Args:
        path: of the file; it need not exist.

    Raises:
        ValueError: the file is not one of this class.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, CallStatus]] = {}
        for stage, calls in _content(path).items():
            for name, values in calls.items():
                self.of(stage, name)
                self._known[stage][name] = _status(path, values)

    def of(self, stage: str, name: str) -> CallStatus:
        """Return the status of a process; changes of it are kept by :meth:`save`."""
        calls = self._known.setdefault(stage, {})
        return calls.setdefault(name, CallStatus())

    def save(self) -> None:
        """Write the file."""
        value: dict[str, dict[str, Any]] = {}
        for stage, calls in self._known.items():
            value[stage] = {name: asdict(status) for name, status in calls.items()}
        write_whole(self._path, json.dumps(value, indent=1).encode())


def _content(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return cast(dict[str, Any], read_json(path, most=_MOST_BYTES))
    except FileNotFoundError:
        return {}


def _status(path: Path, values: Any) -> CallStatus:
    try:
        found = CallStatus(**values)
    except TypeError:
        raise ValueError(
            f"{path}: is not what a sweep writes there; put it back, or delete it: "
            "trainings that are finished are then only looked at again"
        ) from None
    # The process that wrote this has ended, and all that it had started with it.
    if found.state == "running":
        found.state = "interrupted"
    return found
