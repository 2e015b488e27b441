"""Show how far a sweep is: a table of all members in a terminal, elsewhere a line for each change."""

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from data_modules.io.names import cell, visible
from lightning_petl.sweep.calls import CommandCall, last_line
from lightning_petl.sweep.scores import RankedSetting
from lightning_petl.sweep.status import CallStatus

# seconds between two looks at what the processes have written
_REFRESH = 1.0
_COLORS = {
    "waiting": "dim",
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "interrupted": "yellow",
}
ScoreText = Callable[[str], str]
"""Returns the score of a member that is done, in words."""


class SweepScreen:
    """Show the calls of one stage while they run.

    Args:
        stage: what all of them do, as ``fit``.
        calls: with their status, which changes.
        score: of a call that is done.
    """

    def __init__(
        self,
        stage: str,
        calls: Sequence[tuple[CommandCall, CallStatus]],
        score: ScoreText,
    ) -> None:
        self._stage = stage
        self._calls = calls
        self._score = score
        self._scores: dict[str, str] = {}
        console = Console()
        # Without a thread of its own: processes are started meanwhile.
        self._live = (
            Live(console=console, auto_refresh=False)
            if console.is_terminal
            else None
        )
        self._shown = 0.0

    def __enter__(self) -> "SweepScreen":
        if self._live is not None:
            self._live.start()
            self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._show()
            self._live.stop()

    def changed(self, call: CommandCall, status: CallStatus) -> None:
        """Show the new status of a call."""
        if status.state == "done":
            self._scores[call.name] = self._score(call.name)
        if self._live is not None:
            self._show()
            return
        # Counted anew, for a call may go from failed to running.
        ended = 0
        for _, other in self._calls:
            ended += other.state in ("done", "failed")
        place = f"{self._stage} {ended}/{len(self._calls)}"
        told = self._detail(call, status)
        print(f"{place} | {visible(call.name)}: {told}", flush=True)

    def tick(self) -> None:
        """Show how far the running ones are, once a second."""
        now = time.monotonic()
        if self._live is not None and now - self._shown >= _REFRESH:
            self._show()

    def _show(self) -> None:
        assert self._live is not None
        self._shown = time.monotonic()
        table = Table("member", self._stage, box=None, pad_edge=False)
        for call, status in self._calls:
            color = _COLORS[status.state]
            text = cell(self._detail(call, status))
            text.stylize(color)
            table.add_row(cell(call.name), text)
        self._live.update(table, refresh=True)

    def _detail(self, call: CommandCall, status: CallStatus) -> str:
        """Return the status in words."""
        if status.state == "done":
            # Of an earlier start, no change was seen.
            score = self._scores.get(call.name) or self._score(call.name)
            parts = ["done", score, duration(status.seconds)]
            return ", ".join(part for part in parts if part)
        if status.state == "failed":
            return f"failed: {status.why} ({call.log})"
        if status.state == "running" and call.progress is not None:
            progress = last_line(call.progress)
            if self._live is not None and progress:
                return progress
        if status.state == "running":
            return f"running, printing to {call.log}"
        return status.state


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(75.0), duration(4000.0)
    ('1 min', '1 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


def settings_table(monitor: str, ranked: Sequence[RankedSetting]) -> Table:
    """Return a table of settings, the best first.

    Args:
        monitor: the metric that ranks them.
        ranked: the settings.
    """
    table = Table("setting", "seeds", monitor, "spread", box=None, pad_edge=False)
    for setting in ranked:
        seeds = str(len(setting.values))
        if not setting.whole:
            seeds += f" of {setting.members}"
        spread = setting.spread
        # One seed has none.
        shown = "" if math.isnan(spread) else f"{spread:.4f}"
        table.add_row(cell(setting.name), seeds, f"{setting.mean:.4f}", shown)
    return table
