"""What a check says."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from rich.table import Table
from rich.text import Text

State = Literal["good", "slow", "bad"]
_COLOURS = {"good": "green", "slow": "yellow", "bad": "red"}


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        check: what was looked at.
        state: ``good``; ``slow``, where training would run but not as it could; ``bad``, where it would not.
        found: what was seen, with numbers and units.
        advice: the way out.
    """

    check: str
    state: State
    found: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def guarded(name: str, check: Check) -> list[Finding]:
    """What a check finds; that it fails is a finding too, and the others go on."""
    findings: list[Finding] = []
    try:
        findings.extend(check())  # keeps those before a failure
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        findings.append(
            Finding(name, "bad", f"{kind}{' '.join(str(error).split())[:300]}")
        )
    return findings


def report(findings: Iterable[Finding]) -> Table:
    """All of them, line by line."""
    table = Table("check", "", "found", "advice", show_lines=True)
    for finding in findings:
        colour = _COLOURS[finding.state]
        table.add_row(
            finding.check,
            f"[{colour}]{finding.state}[/]",
            Text(finding.found),
            Text(finding.advice),
        )
    return table
