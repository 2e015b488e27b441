"""Hold what checks find, and print it."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from rich.table import Table
from rich.text import Text

Verdict = Literal["good", "slow", "bad"]
_COLORS = {"good": "green", "slow": "yellow", "bad": "red"}


class Finding(NamedTuple):
    """Hold one line of the report.

    Attributes:
        check: what was looked at.
        state: ``good``; ``slow``, where training would run but not as it could; ``bad``, where it would not.
        found: what was seen, with numbers and units.
        advice: the way out.
    """

    check: str
    state: Verdict
    found: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def guarded(name: str, check: Check) -> list[Finding]:
    """Return what a check finds; its failure is a finding, too, and does not stop the other checks."""
    findings: list[Finding] = []
    try:
        # extend takes them one by one, and so keeps those before a failure
        findings.extend(check())
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        # the message of a ValueError of this program is a whole sentence, others need their name
        if not isinstance(error, ValueError):
            text = f"{type(error).__name__}: {text}"
        findings.append(Finding(name, "bad", text))
    return findings


def report(findings: Iterable[Finding]) -> Table:
    """Return the findings as a table for the console."""
    table = Table("check", "", "found", "advice", show_lines=True)
    for finding in findings:
        color = _COLORS[finding.state]
        table.add_row(
            finding.check,
            f"[{color}]{finding.state}[/]",
            Text(finding.found),
            Text(finding.advice),
        )
    return table
