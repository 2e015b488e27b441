"""What stands on the screen: tables beside a progress bar, and warnings."""

import re
import sys
import warnings

import pytest
from rich.console import Console
from rich.live import Live
from rich.table import Table

from lightning_petl.callbacks.outputs.screen import show
from lightning_petl.cli.silenced import plainly_told


def test_a_table_does_not_begin_in_the_line_of_the_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A terminal takes a line back by a carriage return."""
    console = Console(file=sys.stdout, force_terminal=True, width=60)
    with Live("the bar", console=console, auto_refresh=False) as live:
        live.refresh()
        show(Table("video", "class"))
    printed = capsys.readouterr().out
    assert "video" in printed
    assert not re.search(r"the bar[^\r\n]*┏", printed)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/here/data_modules/base.py", r"warning: \x1b[2Jone two" + "\n"),
        (
            "/here/numpy/core.py",
            "/here/numpy/core.py:9: UserWarning: \x1b[2Jone\ntwo\n",
        ),
    ],
)
def test_a_warning_of_ours_is_one_line_without_its_place(
    file: str, expected: str
) -> None:
    before = warnings.formatwarning
    with plainly_told():
        assert (
            warnings.formatwarning("\x1b[2Jone\ntwo", UserWarning, file, 9)
            == expected
        )
    assert warnings.formatwarning is before
